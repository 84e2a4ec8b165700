"""Where networks run. PyTorch is imported by what needs it: commands without networks start faster."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

from vegas_fl.core.errors import VegasError


def resolve_device(name: str) -> str:
    """Turn ``auto`` into the first available of cuda, mps and cpu; return any other name if the device exists.

    Raises
    ------
    VegasError
        The device does not exist on this machine.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(index or 0) >= count:
        raise VegasError(f"device={name} does not exist on this machine; use device=auto or device=cpu")
    return name


def gpus() -> int:
    """Number of CUDA devices that torch can use."""
    import torch

    return torch.cuda.device_count()


def release(device: str) -> None:
    """Free the memory of deleted networks, and the GPU memory that torch holds in reserve."""
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def cores() -> int:
    """Number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Use ``count`` CPU threads in the block, whatever the process was started with: the order in which sums are
    rounded depends on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
