"""The command line: mistakes end with a sentence, a code, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import vegas
from tests.support.project import step


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (["sede=1"], "did you mean seed?"),
        (["nodes.0.selected_classes=[dgo]"], "dog"),
        (["nodes.0.samples_per_node=0"], "samples_per_node"),
        (["run=" + 300 * "a"], "at most 150 characters"),
        (["images_output_dir=blocked/pictures"], "blocked is not a folder"),
        (["paths.checkpoints=blocked/checkpoints"], "blocked is not a folder"),
        (["data=esc50", "data.root=nowhere"], "nowhere"),
        (["data=esc50"], "data.root"),
        (["data=folder", "data.root=empty"], "empty"),
        (["data.train_ratio=0.9"], "ratio"),
        (["data.root=empty"], "data=toy does not use it"),
        (["stages=[images]", "nodes.0.selected_classes=[dog,drum]", "samples_per_node=1"], "less than its 2 classes"),
        (["experiment=none"], "experiment/none"),
        (["renderer.model=./no/such/folder"], "./no/such/folder"),
        ([step("kd")], "Checkpoint not found"),
        ([step("generate"), "images.adapters=local"], "no adapter of node 0"),
        (["aggregation=kd", "stages=[adapters]"], "no generator in"),
    ],
)
def test_a_mistake_is_one_message(arguments: list[str], seen: str, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file")
    (tmp_path / "empty").mkdir()
    done = vegas(tmp_path, *arguments, f"paths.cache={tmp_path / 'cache'}", code=2)
    assert seen in done.stderr
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["blocked", "empty"]


def test_mistakes_of_all_kinds_come_together(tmp_path: Path) -> None:
    done = vegas(tmp_path, "sede=1", "nodes.0.selected_classes=[dgo]", "nodes.1.selected_classes=[katze]", code=2)
    assert "3 mistakes" in done.stderr
    assert all(word in done.stderr for word in ("sede", "dgo", "katze"))


def test_configuration_can_be_shown(tmp_path: Path) -> None:
    shown = vegas(tmp_path, "--cfg", "job", "seed=7").stdout
    assert "seed: 7" in shown and "selected_classes" in shown
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_ends_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vegas_fl.cli.job.run", interrupted)
    assert "run the same command to continue" in vegas(tmp_path, code=130).stderr
