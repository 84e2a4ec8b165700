"""Devices: a GPU that cannot be used is a mistake, and all the ways in which memory runs out are one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.memory import RAN_OUT
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError


@pytest.mark.parametrize("error", RAN_OUT, ids=lambda error: str(error)[:40])
def test_memory_that_runs_out(error: Exception) -> None:
    assert devices.out_of_memory(error)
    wrapped = ValueError("cannot load")
    wrapped.__cause__ = error
    assert devices.out_of_memory(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        VegasError("Out of memory with one picture"),
        OSError(28, "No space left on device"),
        None,
    ],
)
def test_other_errors(error: Exception | None) -> None:
    assert not devices.out_of_memory(error)


def test_work_is_halved_and_ends_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "release", lambda device: None)
    tried = []

    def run(batch: int, device: str) -> str:
        tried.append((batch, device))
        if device != "cpu":
            raise RuntimeError("CUDNN_STATUS_ALLOC_FAILED")
        return "done"

    assert devices.sparing(run, 4, "cuda:1", "the judge") == "done"
    assert tried == [(4, "cuda:1"), (2, "cuda:1"), (1, "cuda:1"), (1, "cpu")]

    def never(batch: int, device: str) -> str:
        raise MemoryError

    with pytest.raises(VegasError, match="Out of memory by the judge on the CPU"):
        devices.sparing(never, 2, "cuda", "the judge")


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose nvidia-smi lists a GPU."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices.gpu_present.cache_clear()
    yield
    devices.gpu_present.cache_clear()


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch can use the GPU")
def test_auto_does_not_leave_a_gpu_unused(smi: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VegasError, match=r"device=auto: .*H100.*PyTorch .*cannot use it: .*set device=cpu"):
        devices.resolve_device("auto")
    assert devices.resolve_device("cpu") == "cpu"
    with pytest.raises(VegasError, match=r"device=cuda does not exist on this machine \("):
        devices.resolve_device("cuda")
    devices.gpu_present.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.resolve_device("auto") == "cpu"


def test_a_gpu_is_chosen_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90", "compute_90"])
    capability = {0: (9, 0), 1: (12, 0)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability[index])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a card")
    assert devices.resolve_device("cuda:1") == "cuda:1" and chosen == [1]
    capability[1] = (7, 0)
    with pytest.raises(VegasError, match=r"a card has compute capability 7.0, for which PyTorch .* was not built"):
        devices.resolve_device("cuda:1")
