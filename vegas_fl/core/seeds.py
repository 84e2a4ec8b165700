"""Randomness that depends on names, not on order.

Each random draw of a run has its own seed: a hash of the run's seed and the words that say what is drawn
("picture", node, class, index). A result therefore does not depend on what was drawn before it, on the process
it is drawn in, or on interruptions.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vegas_fl.core import devices

if TYPE_CHECKING:
    import torch


def derive_seed(*parts: object) -> int:
    """Hash the text of ``parts`` to a seed in [0, 2**63)."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: object) -> "torch.Generator":
    """A CPU random generator seeded with :func:`derive_seed`."""
    import torch

    return torch.Generator().manual_seed(derive_seed(*parts))


@contextlib.contextmanager
def reproducible(*parts: object, threads: int) -> Iterator[None]:
    """Seed torch's global generator from ``parts`` and pin the thread count inside the block.

    The order in which sums are rounded depends on the number of threads, so training gives the same result in every
    engine only if that number is the same. The previous state is restored on exit.
    """
    import torch

    with torch.random.fork_rng(), devices.threads(threads):
        torch.manual_seed(derive_seed(*parts))
        yield
