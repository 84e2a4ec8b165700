"""A pretended GPU: tensors know that they are on a device that this machine does not have, and have no values.

Mixing devices fails as on a real one. PyTorch's FakeTensorMode computes shapes and devices only; the device is torch's
backend for out-of-tree devices.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pytest import MonkeyPatch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration

if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
    pytest.skip("this PyTorch cannot pretend a device", allow_module_level=True)


GPU = "gpu"
WAITS: list[str] = []
"""Each time a value on the pretended GPU was read, which makes a real one's caller wait: its shape."""


@contextlib.contextmanager
def pretended_gpu() -> Iterator[str]:
    """A device that can be moved to in the block; reads of its values are counted in :data:`WAITS`."""
    with contextlib.suppress(RuntimeError):  # it exists from an earlier test
        backend_registration._setup_privateuseone_for_python_backend(GPU)
    WAITS.clear()
    with MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "to", _moved)
        patch.setattr(nn.Module, "cpu", lambda module: _moved(module, "cpu"))
        for name, of in READS.items():
            patch.setattr(torch.Tensor, name, _read(of))
        patch.setattr(torch, "from_numpy", lambda array: torch.zeros(array.shape))
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield GPU


READS: dict[str, Any] = {
    "item": lambda tensor: 1.0 if tensor.is_floating_point() else 0,
    "tolist": lambda tensor: [0.0 if tensor.is_floating_point() else 0] * tensor.numel() if tensor.ndim else 0.0,
    "__int__": lambda tensor: 0,
    "__bool__": lambda tensor: True,
    "__float__": lambda tensor: 1.0,
}


def _read(value: Any) -> Any:
    def read(tensor: torch.Tensor) -> Any:
        if tensor.device.type == GPU:
            WAITS.append(str(tuple(tensor.shape)))
        return value(tensor)

    return read


def _moved(module: nn.Module, *where: Any, **more: Any) -> nn.Module:
    """nn.Module.to, which does not move to a pretended device."""
    device = next((x for x in (*where, *more.values()) if isinstance(x, (str, torch.device))), None)
    dtype = next((x for x in (*where, *more.values()) if isinstance(x, torch.dtype)), None)
    for part in module.modules():
        for name, value in [*part._parameters.items(), *part._buffers.items()]:
            if value is not None:
                kind = dtype if dtype and value.is_floating_point() else value.dtype
                moved = value.detach().to(device=device or value.device, dtype=kind)
                if name in part._parameters:
                    part._parameters[name] = nn.Parameter(moved, requires_grad=value.requires_grad)
                else:
                    part._buffers[name] = moved
    return module
