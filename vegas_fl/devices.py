"""Where networks run."""

from __future__ import annotations

import torch

from vegas_fl.errors import VegasError


def resolve_device(name: str) -> str:
    """``auto`` → cuda, mps or cpu, the first there is; any other name if the machine has it.

    Raises
    ------
    VegasError
        The device does not exist here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(index or 0) >= count:
        raise VegasError(f"device={name} does not exist on this machine; use device=auto or device=cpu")
    return name
