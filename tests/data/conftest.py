"""Data sets that several tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.datasets import data, esc50
from vegas_fl.config import DataConfig


@pytest.fixture
def folds(tmp_path: Path) -> DataConfig:
    """Ten clips of dog and of rooster in each of the folds 1 to 4."""
    rows = [
        f"{f}-{c}{i}.wav,{f},0,{c},True,{f}{c}{i},A" for f in range(1, 5) for c in ("dog", "rooster") for i in range(10)
    ]
    root = esc50(tmp_path, rows)
    for row in rows:
        (root / "audio" / row.split(",")[0]).touch()
    return data(name="esc50", root=str(root), train_folds=(1, 2, 3), val_folds=(), test_folds=(4,))
