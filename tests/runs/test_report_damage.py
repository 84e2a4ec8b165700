"""Pages of runs that were interrupted, repeated, damaged, or named with malice."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.browser import browser
from tests.support.command import vegas
from tests.support.runs import write_run
from vegas_fl.config import Config, compose
from vegas_fl.core.errors import VegasError
from vegas_fl.runs.record import Record
from vegas_fl.runs.report import page, table
from vegas_fl.runs.report.read import read

EVIL = "<img src=x onerror=alert(1)>$x^"


NODES = {"0": {"selected_classes": [EVIL, "dog"], "samples_per_node": 2}}


def evaluation(round_: int, accuracy: float, adapter: str = "kd", **more: Any) -> dict[str, Any]:
    counts = [[8, 2], [0, 10]]
    line = {"round": round_, "adapter": adapter, "branch": "t5", "accuracy": accuracy, "confusion": counts}
    return {"stage": "evaluation", **line, **more}


START = {"stage": "start", "stages": ["adapters"], "seed": 1, "aggregation": "kd"}
END = {"stage": "end", "seconds": 5.0}


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    lines = [
        START,
        evaluation(1, 0.9, classes=[EVIL, "dog"]),
        {"stage": "generator quality", "label": EVIL, "purity": 0.9, "purity_ceiling": 0.95, "coverage": None},
        {"stage": "judge", "accuracy": 0.5, "classes": [EVIL, "dog"], "confusion": [[1, 1], [1, 1]]},
        END,
    ]
    folder = write_run(tmp_path / "run", lines, run=EVIL, nodes=NODES)
    text = page.write(folder).read_text("utf8")
    assert "<img src=x" not in text
    assert read(folder).notes == []
    with browser(tmp_path) as tab:
        loaded = tab.open(folder / "report.html", 390)
        assert loaded.messages == []
        assert all(tab.value("[...document.images].map(i => i.naturalWidth)"))
        assert tab.value("document.title") == EVIL
        assert tab.value("document.documentElement.scrollWidth") <= 390
        assert EVIL in tab.value("document.querySelector('#verdicts').innerText")


def test_damage_is_noted(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures" / "node_0"
    pictures.mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save(pictures / "dog_0001.png")
    (pictures / "dog_0002.png").write_bytes((pictures / "dog_0001.png").read_bytes()[:60])
    Image.new("RGB", (1280, 82), "red").save(tmp_path / "pictures" / "node_2_sheet.png")
    lines: list[dict[str, Any] | str] = [
        START,
        evaluation(1, 0.9),
        '{"stage": "evaluation", "round": 2, "adap',
        {"stage": "evaluation", "round": 2, "adapter": "kd", "branch": "t5"},
        evaluation(1, float("nan"), "local", confusion=[[1, 2], [3]]),
        {"stage": "judge", "accuracy": 0.5, "confusion": [[1, -1], [1, 1]]},
        {"stage": "images", "node": "0", "pictures": 2, "rendered": 2, "folder": str(pictures)},
        {"stage": "images", "node": "1", "pictures": 2, "rendered": 2, "folder": "/not/here"},
        {"stage": "images", "node": "2", "pictures": 2, "rendered": 2, "folder": str(tmp_path / "pictures/node_2")},
        "[]",
    ]
    folder = write_run(tmp_path / "runs" / "run", lines, nodes=NODES)
    (folder / "checkpoints.json").write_text("{", "utf8")
    text = page.write(folder).read_text("utf8")
    for note in (
        "Line 3 of metrics.jsonl cannot be read",
        "Line 4 of metrics.jsonl (evaluation) lacks accuracy",
        "Line 10 of metrics.jsonl",
        "checkpoints.json cannot be read",
        "dog_0002.png cannot be read",
        "Node 1&#39;s pictures are not shown",
        "contact sheet",
        "The last attempt has not ended",
    ):
        assert note in text, note
    assert "0.900" in text


def test_of_each_stage_the_latest_attempt_counts(tmp_path: Path) -> None:
    lines: list[dict[str, Any] | str] = [
        {**START, "stages": ["generators", "adapters"]},
        {"stage": "generators", "node": "0", "label": "dog", "clips": 3, "training": {"nll": 1.0}},
        {"stage": "generators", "seconds": 1.0},
        *(evaluation(r, 0.5) for r in (1, 2, 3)),
        {**END, "problem": "the disk was full"},
        START,
        evaluation(1, 0.7),
        END,
        {**START, "stages": ["images"]},
    ]
    run = read(write_run(tmp_path / "run", lines, nodes=NODES))
    assert [(line["round"], line["accuracy"]) for line in run.evaluations] == [(1, 0.7)]
    assert [line["label"] for line in run.generators] == ["dog"]
    assert [attempt.number for attempt in run.used] == [1, 2]
    assert run.notes[0] == "Attempt 1 failed: the disk was full"
    assert "still running" in run.notes[1]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return compose([f"paths.runs={tmp_path}", "run=live", "stages=[generators]", f"paths.checkpoints={tmp_path}"])


def test_a_run_has_a_page_while_it_goes_on_and_after_it_failed(config: Config, tmp_path: Path) -> None:
    record = Record(config)
    record.page(now=True)
    assert "has not ended" in (tmp_path / "live/report.html").read_text("utf8")
    with pytest.raises(VegasError), record.to_the_end(), record.stage("generators"):
        raise VegasError("node 1 has <no> clips")
    assert "The last attempt failed: node 1 has &lt;no&gt; clips" in (tmp_path / "live/report.html").read_text("utf8")


def test_a_page_is_not_drawn_more_often_than_is_cheap(config: Config, tmp_path: Path) -> None:
    record = Record(config)
    for _ in range(3):
        with record.stage("generators"):
            pass
    assert not (tmp_path / "live/report.html").exists()


def test_a_page_that_cannot_be_written_does_not_hurt_the_run(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "live/report.html").mkdir(parents=True)
    record = Record(config)
    with caplog.at_level(logging.WARNING), record.to_the_end():
        pass
    assert "the report of run live was not written: " in caplog.text


def test_tensorboard_that_cannot_be_written_does_not_hurt_the_run(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live/tensorboard").write_text("a file")
    with caplog.at_level(logging.WARNING):
        Record(config).add(stage="evaluation", round=1, accuracy=1.0)
    assert caplog.text.count("TensorBoard receives no more data of this run") == 1


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="Weights & Biases is installed")
def test_weights_and_biases_that_is_not_installed(tmp_path: Path) -> None:
    done = vegas(tmp_path, "tracking.wandb=sounds", code=2)
    assert "tracking.wandb=sounds: Weights & Biases is not installed" in done.stderr


def test_odd_numbers_are_noted_and_never_stop_the_page(tmp_path: Path) -> None:
    huge = "1" + "0" * 400
    lines: list[dict[str, Any] | str] = [
        START,
        {"stage": "judge", "accuracy": 0.5, "confusion": [["a", 1], [1, 1]]},
        '{"stage": "judge", "accuracy": %s, "confusion": 3}' % huge,  # noqa: UP031
        '{"stage": "traffic", "message": "train.adapter", "down": 1e999, "up": 1, "seconds": 1}',
        '{"stage": "traffic", "message": "train.adapter", "down": 1, "up": 1, "seconds": NaN}',
        "[" * 100_000,
        '{"stage": "end", "seconds": 1e999}',
    ]
    folder = write_run(tmp_path / "run", lines)
    (folder / "checkpoints.json").write_text('[{"file": "a", "bytes": %s}]' % huge)  # noqa: UP031
    page.write(folder)
    run = read(folder)
    for number, lost in ((3, "accuracy"), (4, "down"), (5, "seconds")):
        assert any(f"Line {number} " in note and lost in note for note in run.notes)
    assert any("Line 6 of metrics.jsonl cannot be read" in note for note in run.notes)
    assert table.lines([run]) == ["pictures judged: 0"]


def test_one_class_leaves_nothing_to_judge(tmp_path: Path) -> None:
    lines: list[dict[str, Any] | str] = [
        START,
        {"stage": "warning", "text": "renderer.model=pack was trained for 16 classes only"},
        evaluation(1, 1.0, confusion=[[8]], classes=["dog"]),
        {"stage": "judge", "accuracy": 1.0, "confusion": [[8]], "classes": ["dog"], "clip_score": 53.2},
        END,
    ]
    folder = write_run(tmp_path / "run", lines)
    run = read(folder)
    assert run.notes == ["renderer.model=pack was trained for 16 classes only"]
    assert "1.000" not in "\n".join(table.lines([run])) and "pictures judged: 8; CLIP score 53.2" in table.lines([run])
    text = page.write(folder).read_text("utf8")
    assert "judged right: " not in text and "was trained for 16 classes only" in text
