"""Runs whose targets are of a clip and not of its class: its attributes or its caption."""

from __future__ import annotations

from pathlib import Path

from tests.support.command import vegas
from tests.support.datasets import vegas_folder


def test_captions_that_are_not_there_are_told(tmp_path: Path) -> None:
    root = vegas_folder(tmp_path / "VEGAS", {"video_00000": "a dog barks"})
    data = ["data=vegas", f"data.root={root}", "nodes.1.selected_classes=[baby_cry]", "targets=caption"]
    done = vegas(tmp_path, *data, code=2)
    assert "no clip of node 1 has a caption" in done.stderr
    assert "node 0" not in done.stderr


def test_a_run_learns_them(tmp_path: Path, embedding_cache: Path) -> None:
    small = ["data.clips_per_class=10", "samples_per_node=4", "stages=[adapters]", "aggregation=fedavg"]
    vegas(tmp_path, *small, "targets=attributes", f"paths.cache={embedding_cache}")
    assert (tmp_path / "checkpoints/adapters/demo/demo_round_1_t5.safetensors").exists()
    assert any((embedding_cache / "attributes").glob("*.json"))
