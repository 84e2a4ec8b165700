"""Randomness that depends on names, not on order.

Every random draw of a run comes from a seed hashed out of the run's seed and the words that say what is
drawn ("picture", node, class, index). So a result does not depend on what was drawn before it, in which
process, or after how many interruptions.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vegas_fl.core import devices

if TYPE_CHECKING:
    import torch


def derive_seed(*parts: object) -> int:
    """Hash ``parts`` (compared by their text) to a seed in [0, 2**63)."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: object) -> torch.Generator:
    """A CPU random generator seeded with :func:`derive_seed`."""
    import torch

    return torch.Generator().manual_seed(derive_seed(*parts))


@contextlib.contextmanager
def reproducible(*parts: object, threads: int) -> Iterator[None]:
    """Seed torch's global generator from ``parts`` and pin the thread count inside the block.

    Sums are rounded in an order that depends on the number of threads; training is the same in every
    engine only if that number is. The previous state is restored on exit.
    """
    import torch

    with torch.random.fork_rng(), devices.threads(threads):
        torch.manual_seed(derive_seed(*parts))
        yield
