"""The measurements on a GPU, and what they need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.project import ROOT
from vegas_fl.benchmarks import gpu
from vegas_fl.core.errors import VegasError

ABSENT = ["flwr", "ray", "sklearn", "scipy", "matplotlib", "tensorboard", "cryptography"]
"""Not among the wheels of `make gpu-bundle`."""


@pytest.mark.gpu
@pytest.mark.skipif(gpu.lacking() is not None, reason=str(gpu.lacking()))
@pytest.mark.parametrize("check", gpu.CHECKS)
def test_on_the_gpu(check: str) -> None:
    assert [what for what, good in gpu.CHECKS[check]("cuda") if not good] == []


@pytest.mark.skipif(gpu.lacking() is None, reason="there is a GPU")
def test_without_a_gpu_the_measurement_says_so() -> None:
    with pytest.raises(VegasError, match="bench gpu needs a GPU: torch .* finds no CUDA device"):
        next(gpu.bench())


@pytest.mark.slow
def test_the_checks_run_on_a_cpu_too_and_agree_with_themselves() -> None:
    assert all(good for _, good in gpu.same_training("cpu"))


def test_the_measurement_runs_without_flower_and_what_else_the_bundle_lacks() -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))\nfrom vegas_fl.cli.main import main; main()"
    run = subprocess.run([sys.executable, "-c", code, "bench", "gpu"], cwd=ROOT, capture_output=True, text=True)
    assert "bench gpu needs a GPU" in run.stderr, run.stderr[-2000:]
