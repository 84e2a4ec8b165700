"""A small run of three rounds, and its pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.command import vegas
from tests.support.once import Once

CLASSES = ["nodes.0.selected_classes=[dog]", "nodes.1.selected_classes=[chainsaw,dog]"]
COUNTS = ["nodes.0.samples_per_node=6", "nodes.1.samples_per_node=4"]
LOOK = ["renderer.steps=1", "renderer.batch_size=4", "renderer.judge=null"]


@pytest.fixture(scope="module")
def trained(once: Once, embedding_cache: Path) -> Path:
    """A folder with the checkpoints of a small run of three rounds."""
    small = ["data.clips_per_class=20", "generator.epochs=3", "adapter.local_epochs=2", "rounds=3"]
    stages = ["stages=[generators,adapters]", "aggregation=fedavg", "evaluation.split=none", "run=small"]
    words = [*small, *stages, *CLASSES, *COUNTS, f"paths.cache={embedding_cache}"]
    return once.copy("pictures", lambda folder: vegas(folder, *words))


@pytest.fixture
def base(trained: Path, tmp_path: Path, embedding_cache: Path) -> list[str]:
    """Draw from those checkpoints into ``tmp_path/out``."""
    return [
        *["stages=[images]", "aggregation=fedavg", "run=small", *CLASSES, *COUNTS, *LOOK],
        f"paths.checkpoints={trained / 'checkpoints'}",
        f"paths.runs={tmp_path / 'runs'}",
        f"paths.cache={embedding_cache}",
        f"images_output_dir={tmp_path / 'out'}",
        "data.clips_per_class=20",
    ]


@pytest.fixture
def drawn(base: list[str], once: Once, tmp_path: Path) -> Path:
    """``tmp_path/out`` after those pictures were drawn."""

    def fill(folder: Path) -> None:
        vegas(folder, *base, f"images_output_dir={folder}", f"paths.runs={tmp_path / 'runs of the original'}")

    return Path(shutil.copytree(once.folder("pictures-drawn", fill), tmp_path / "out"))
