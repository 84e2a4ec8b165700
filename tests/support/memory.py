"""What is raised when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pytest import MonkeyPatch

from vegas_fl.core import devices

RAN_OUT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    OSError(12, "Cannot allocate memory"),
    MemoryError(),
]
if hasattr(torch, "AcceleratorError"):
    RAN_OUT.append(torch.AcceleratorError("CUDA error: out of memory", 2))


def scarce(
    patch: MonkeyPatch, kind: type, method: str, error: Exception, fails: Callable[[torch.Tensor], bool]
) -> None:
    """Let ``error`` be raised by a method for the inputs that a rule names, and nothing be searched for garbage."""
    real = getattr(kind, method)

    def run(self: Any, x: torch.Tensor, *others: Any, **options: Any) -> Any:
        if fails(x):
            raise error
        return real(self, x, *others, **options)

    patch.setattr(kind, method, run)
    patch.setattr(devices, "release", lambda device: None)
