"""Where networks run. PyTorch is imported by what needs it: commands without networks start faster."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

from vegas_fl.core.errors import VegasError


def resolve_device(name: str) -> str:
    """``auto`` → cuda, mps or cpu, the first there is; any other name if the machine has it.

    Raises
    ------
    VegasError
        The device does not exist here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(index or 0) >= count:
        raise VegasError(f"device={name} does not exist on this machine; use device=auto or device=cpu")
    return name


def release(device: str) -> None:
    """Give back memory that nothing uses any more: that of networks that were dropped, and what torch keeps of a GPU's
    for later."""
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let networks compute with ``count`` threads inside the block, whatever the process was started with: sums are
    rounded in an order that depends on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
