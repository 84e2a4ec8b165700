"""The measurements on a GPU, and what they need."""

from __future__ import annotations

import csv
import importlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import ROOT
from vegas_fl.benchmarks import gpu
from vegas_fl.benchmarks.gpu_models import Bench, Row
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError

ABSENT = ["flwr", "ray", "sklearn", "scipy", "matplotlib", "tensorboard", "cryptography"]
"""Not among the wheels of `make gpu-bundle`."""

EVERYWHERE = ["pictures", "training", "out of memory", "simulation", "whole run"]


@pytest.mark.gpu
@pytest.mark.skipif(gpu.lacking() is not None, reason=str(gpu.lacking()))
@pytest.mark.parametrize("check", gpu.CHECKS)
def test_on_the_gpu(check: str, tmp_path: Path) -> None:
    found = list(gpu.rows(check, Bench("cuda", tmp_path), gpu.CHECKS[check].seconds))
    assert [row for row in found if row.good is False] == []


@pytest.mark.skipif(gpu.lacking() is None, reason="there is a GPU")
def test_without_a_gpu_the_measurement_says_so(tmp_path: Path) -> None:
    with pytest.raises(VegasError, match="bench gpu needs a GPU: torch .* finds no CUDA device"):
        next(gpu.bench(tmp_path / "gpu.csv"))


@pytest.mark.slow
@pytest.mark.long
def test_all_checks_run_on_a_cpu_with_small_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they measure there says nothing, but for what does not depend on the device."""
    table = tmp_path / "new" / "gpu.csv"
    patient = {name: check._replace(seconds=1200) for name, check in gpu.CHECKS.items()}
    monkeypatch.setattr(gpu, "CHECKS", patient)
    found = list(gpu.measured(Bench("cpu", tmp_path, small=True), table, 3000))
    assert [(name, row) for name, row in found if "failed with" in row.measured or "Error" in row.measured] == []
    assert [row for name, row in found if name in EVERYWHERE and not row.good] == []
    assert {name for name, _ in found} == set(gpu.CHECKS)
    with table.open(encoding="utf8") as file:
        assert [row["what"] for row in csv.DictReader(file)] == [row.what for _, row in found]


def test_a_check_that_fails_or_takes_too_long_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(bench: Bench) -> Iterator[Row]:
        yield Row("first", "1", "1", True)
        raise ValueError("no such thing")

    def long(bench: Bench) -> Iterator[Row]:
        time.sleep(5)
        yield Row("never", "1", "1", True)

    def lacking(bench: Bench) -> Iterator[Row]:
        yield Row("first", importlib.import_module("no_such_package").__name__, "1", True)

    checks = {"a": gpu.Check(failing, 9), "b": gpu.Check(long, 0.05), "c": gpu.Check(lacking, 9)}
    monkeypatch.setattr(gpu, "CHECKS", checks)
    monkeypatch.setattr(devices, "release", lambda device: None)
    found = list(gpu.measured(Bench("cpu", tmp_path), tmp_path / "gpu.csv", 60))
    assert [(name, row.good) for name, row in found] == [("a", True), ("a", False), ("b", None), ("c", None)]
    assert "ValueError: no such thing" in found[1][1].measured
    assert "spent" in found[2][1].measured and "no_such_package" in found[3][1].measured


@pytest.mark.slow
def test_the_measurement_runs_without_flower_and_what_else_the_bundle_lacks() -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))\nfrom vegas_fl.cli.main import main; main()"
    run = subprocess.run([sys.executable, "-c", code, "bench", "gpu"], cwd=ROOT, capture_output=True, text=True)
    assert "bench gpu needs a GPU" in run.stderr, run.stderr[-2000:]
