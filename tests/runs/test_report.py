"""What a run leaves behind, and its page in a real browser."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import browser
from tests.support.command import vegas
from tests.support.once import Once
from vegas_fl.config import BRANCHES
from vegas_fl.storage import tensorfiles

SMALL = [
    *("data.clips_per_class=20", "generator.epochs=5", "rounds=2", "run=small"),
    *("nodes.0.samples_per_node=4", "nodes.1.samples_per_node=3"),
]


@pytest.fixture(scope="module")
def ran(once: Once, embedding_cache: Path) -> tuple[Path, str]:
    """The folder of a run with all stages, and another of FedAvg's adapters; what the first printed."""
    cache = f"paths.cache={embedding_cache}"

    def fill(folder: Path) -> None:
        (folder / "printed").write_text(vegas(folder, *SMALL, cache).stdout)
        vegas(folder, *SMALL, cache, "run=other", "aggregation=fedavg", "stages=[adapters]")

    folder = once.copy("report", fill)
    return folder, (folder / "printed").read_text()


def metrics(folder: Path, stage: str) -> list[dict[str, Any]]:
    """The lines of a stage in ``metrics.jsonl``."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf8").splitlines()]
    return [line for line in lines if line["stage"] == stage]


def test_a_run_ends_with_its_table_and_the_path_of_its_page(ran: tuple[Path, str]) -> None:
    folder, printed = ran
    for line in metrics(folder / "runs/small", "evaluation"):
        if line["round"] == 2 and line["branch"] == "t5":
            assert re.search(rf"{line['adapter']} +[\d.]+ +{line['accuracy']:.3f}\n", printed)
    assert "are shared adapters better than local ones? " in printed
    assert all(line["here"] for line in metrics(folder / "runs/small", "images") if "node" in line)
    (judge,) = metrics(folder / "runs/small", "judge")
    assert f"pictures judged right: {judge['accuracy']:.3f} of 7" in printed
    assert "report: runs/small/report.html" in printed.splitlines()[-1]
    assert (folder / "runs/small/report.html").is_file()


def test_checkpoints_are_listed_with_their_hashes(ran: tuple[Path, str]) -> None:
    folder, _ = ran
    entries = json.loads((folder / "runs/small/checkpoints.json").read_text("utf8"))
    assert {e["file"] for e in entries} == {
        str(p.relative_to(folder)) for p in folder.glob("checkpoints/*/small/**/*.safetensors")
    }
    assert len(entries) == 2 * 2 + 2 * 2 * 3
    for entry in entries:
        header = tensorfiles.load(folder / entry["file"]).header
        assert {key: header.get(key) for key in ("sha256", "class", "round", "node")}.items() <= entry.items()


def test_bytes_are_those_of_the_adapters_that_went_to_and_fro(ran: tuple[Path, str]) -> None:
    folder, _ = ran
    traffic = metrics(folder / "runs/small", "traffic")
    once = ("query.describe", "train.generator", "evaluate.generator", "query.generate")
    each_round = [(message, round_) for message in ("train.adapter", "evaluate.adapter") for round_ in (1, 2)]
    asked = [*((message, None) for message in once), *each_round]
    sent = Counter((line["message"], line["round"], line["node"]) for line in traffic)
    assert sent == Counter((*asking, node) for asking in asked for node in "01")
    paths = [folder / f"checkpoints/adapters/small/small_node_0_round_1_{branch}.safetensors" for branch in BRANCHES]
    size = sum(tensor.nbytes for path in paths for tensor in tensorfiles.load(path).tensors.values())
    (message,) = (x for x in traffic if (x["message"], x["round"], x["node"]) == ("train.adapter", 1, "0"))
    assert size / 2 < message["up"] < 1.02 * size / 2  # float16
    assert size < message["down"] < 1.05 * size
    assert all(line["seconds"] > 0 for line in traffic if line["message"].startswith("train"))


def test_tensorboard_gets_the_same_figures(ran: tuple[Path, str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _ = ran
    events = EventAccumulator(str(folder / "runs/small/tensorboard/1"))
    events.Reload()
    for line in metrics(folder / "runs/small", "evaluation"):
        told = {e.step: e.value for e in events.Scalars(f"evaluation/{line['adapter']}/{line['branch']}/accuracy")}
        assert told[line["round"]] == pytest.approx(line["accuracy"])


def test_the_page_is_made_again_byte_for_byte(ran: tuple[Path, str]) -> None:
    folder, _ = ran
    page = folder / "runs/small/report.html"
    before = hashlib.sha256(page.read_bytes()).hexdigest()
    page.unlink()
    done = vegas(folder, "report", "small")
    assert done.stdout.splitlines()[-1] == "report: runs/small/report.html"
    assert hashlib.sha256(page.read_bytes()).hexdigest() == before


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1100, False)])
def test_the_page_in_a_browser(ran: tuple[Path, str], tmp_path: Path, width: int, dark: bool) -> None:
    folder, _ = ran
    # Elsewhere and alone: what the page needs is in it.
    page = tmp_path / "moved.html"
    page.write_bytes((folder / "runs/small/report.html").read_bytes())
    with browser(tmp_path) as tab:
        loaded = tab.open(page, width, dark)
        assert loaded.messages == []
        assert [u for u in loaded.requests if not u.startswith("data:")] == [page.as_uri()]
        sizes = tab.value("[...document.images].map(i => i.naturalWidth)")
        # Accuracy and confusion in both branches, those of local and fedavg on demand, judge, timeline, two strips.
        assert len(sizes) >= 2 + 2 + 4 + 1 + 1 + 2 and all(sizes)
        assert tab.value("document.scripts.length") == 0
        assert tab.value("document.documentElement.scrollWidth") <= width
        rows = tab.value(
            "[...document.querySelectorAll('#results tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
        )
        shown = {(row[0], branch): row[1 + i :: 2] for row in rows for i, branch in enumerate(BRANCHES)}
        final = {
            (x["adapter"], x["branch"]): x for x in metrics(folder / "runs/small", "evaluation") if x["round"] == 2
        }
        assert shown.keys() == final.keys()
        for key, line in final.items():
            expected = [f"{line[name]:.3f}" for name in ("accuracy", "balanced_accuracy", "macro_f1")]
            assert shown[key][:3] == expected
        assert tab.value("document.querySelector('#results .strong').cells[0].innerText") == "kd"
        bytes_ = tab.value("[...document.querySelector('#traffic tbody').lastElementChild.cells].map(c => c.innerText)")
        down = sum(line["down"] for line in metrics(folder / "runs/small", "traffic"))
        assert bytes_[0] == "total" and bytes_[4] == f"{down / 1e6:.1f} MB"
        assert len(tab.value("[...document.querySelectorAll('#checkpoints tbody tr')].map(r => 1)")) == 16


def test_runs_side_by_side(ran: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = ran
    done = vegas(folder, "compare", "small", "runs/other", "--output", str(tmp_path / "both.html"))
    assert re.search(r"small +kd +[\d.]+ +[\d.]+\n", done.stdout)
    assert re.search(r"other +fedavg +[\d.]+ +[\d.]+\n", done.stdout)
    with browser(tmp_path) as tab:
        loaded = tab.open(tmp_path / "both.html", 1100)
        assert loaded.messages == [] and len([u for u in loaded.requests if not u.startswith("data:")]) == 1
        assert all(tab.value("[...document.images].map(i => i.naturalWidth)"))
        rows = tab.value(
            "[...document.querySelectorAll('#results tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
        )
        assert [row[:2] for row in rows] == [
            *(["small", name] for name in ("local", "fedavg", "kd")),
            *(["other", name] for name in ("local", "fedavg")),
        ]
        settings = tab.value("[...document.querySelectorAll('#differences tr')].map(r => r.innerText)")
        assert any("aggregation.name" in row and "kd" in row and "fedavg" in row for row in settings)


def test_a_run_that_is_not_there(ran: tuple[Path, str]) -> None:
    folder, _ = ran
    done = vegas(folder, "compare", "small", "smal", code=1)
    assert "Run smal not found; runs in runs: other, small" in done.stderr
    assert "two runs or more" in vegas(folder, "compare", "small", code=1).stderr
    assert "no run found in nowhere" in vegas(folder, "report", "small", "--runs", "nowhere", code=1).stderr
