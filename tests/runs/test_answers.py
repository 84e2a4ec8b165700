"""What a page answers to the three questions, and what a comparison says over seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.browser import browser
from tests.support.command import vegas
from tests.support.runs import Lines, write_run
from vegas_fl.runs.report import answers, page, seeds
from vegas_fl.runs.report.read import read

START = {"stage": "start", "stages": ["adapters"], "seed": 1, "aggregation": "kd"}


def written(folder: Path, lines: Lines, **config: Any) -> Path:
    """The folder of a run of two nodes."""
    nodes = {str(n): {"selected_classes": [name], "samples_per_node": 2} for n, name in enumerate(("dog", "chainsaw"))}
    about = {"series": folder.name, "nodes": nodes, "evaluation": {"compare": ["local"]}}
    return write_run(folder, [START, *lines, {"stage": "end", "seconds": 5}], **{**about, **config})


def evaluated(
    right: int, gain: tuple[float, float] | None = None, adapter: str = "kd", branch: str = "t5"
) -> dict[str, Any]:
    """An evaluation of which ``right`` of ten clips a class are right."""
    line: dict[str, Any] = {
        "round": 1,
        "adapter": adapter,
        "branch": branch,
        "accuracy": right / 10,
        "margin": right / 20,
    }
    counts = [[right, 10 - right], [10 - right, right]]
    spans = {"gain_interval": list(gain), "accuracy_interval": [0.1, 0.9], "recordings": 14} if gain else {}
    return {"stage": "evaluation", **line, "confusion": counts, "classes": ["chainsaw", "dog"], **spans}


@pytest.mark.parametrize(
    ("clip", "t5", "answer"),
    [
        ((0.1, 0.4), (0.2, 0.4), "Yes."),
        ((-0.1, 0.4), (0.2, 0.4), "Yes, in the T5 branch only."),
        ((-0.1, 0.4), (0.0, 0.4), "Not certain: the interval includes no difference."),
        ((-0.4, -0.1), (-0.3, -0.1), "No, they are worse."),
        ((-0.4, -0.1), (-0.3, 0.1), "No, they are worse, in the CLIP branch only."),
        (None, None, "No interval: the nodes sent no resamples."),
    ],
)
def test_shared_adapters_are_better_if_the_intervals_say_so(tmp_path: Path, clip: Any, t5: Any, answer: str) -> None:
    lines = [evaluated(5, adapter="local", branch=branch) for branch in ("clip", "t5")]
    run = read(written(tmp_path / "run", [*lines, evaluated(8, clip, branch="clip"), evaluated(9, t5)]))
    said, text = answers.shared(run) or ("", "")
    assert said == answer
    assert "Right of 20 clips that no node trained on: kd 0.800, a node's own adapter 0.500" in text
    assert ("bootstrap over the 14 source recordings" in text) == (clip is not None)
    assert f"<b>{answer}</b>" in page.write(run.folder).read_text("utf8")


def test_nothing_to_compare_shared_adapters_with(tmp_path: Path) -> None:
    assert answers.shared(read(written(tmp_path / "none", []))) is None
    assert answers.shared(read(written(tmp_path / "alone", [evaluated(8)])))[0] == "Not measured."  # type: ignore[index]
    own = written(tmp_path / "own", [evaluated(8, adapter="local")])
    assert answers.shared(read(own))[0] == "Nothing was shared."  # type: ignore[index]


@pytest.mark.parametrize(
    ("figures", "verdict", "reason"),
    [
        ({"purity": (0.95, 0.97), "recall": (0.8, 0.9), "nearest": (0.2, 0.2)}, "good", "95% of the samples"),
        ({"purity": (0.952, 0.99), "recall": (0.536, 0.975)}, "little variety", "cover 54% of the unseen clips"),
        ({"purity": (0.6, 0.97), "recall": (0.9, 0.9)}, "mixed up with other classes", "60% of the samples"),
        ({"purity": (1.0, 1.0), "recall": (0.9, 0.9), "nearest": (0.05, 0.2)}, "copies its clips", "only 0.050 from"),
        (
            {"purity": (0.6, 0.97), "recall": (0.1, 0.9)},
            "mixed up with other classes, little variety",
            "(real clips 90%)",
        ),
        ({"purity": (1.0, 1.0)}, "too few clips to tell", "100% of the samples"),
        ({}, "too few clips to tell", "no unseen clips"),
    ],
)
def test_a_generator_is_good_if_it_is_pure_varied_and_no_copy(figures: Any, verdict: str, reason: str) -> None:
    line = {key: own for key, (own, _) in figures.items()} | {
        f"{key}_ceiling": best for key, (_, best) in figures.items()
    }
    said, why = answers.generator(line)
    assert said == verdict
    assert reason in why


def test_what_left_the_nodes_and_to_whom(tmp_path: Path) -> None:
    kinds = ("train.generator", "evaluate.generator", "train.adapter", "evaluate.adapter", "new.kind")
    about = {"stage": "traffic", "down": 1, "seconds": 1.0, "round": None}
    lines = [{**about, "message": kind, "node": node, "up": 2000} for kind in kinds for node in "01"]
    lines.append({**about, "message": "query.describe", "node": "0", "up": 0})
    run = written(tmp_path / "run", [evaluated(8), *lines])
    with browser(tmp_path) as tab:
        tab.open(page.write(run), 1400)
        rows = tab.value(
            "[...document.querySelectorAll('#left tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
        )
    assert [row[1] for row in rows] == [
        "the server and all nodes (the means)",
        "the server",
        "the server and all nodes",
        "the server",
        "the server",
    ]
    assert all(row[3:] == ["once, by 2 nodes", "4.0 kB"] for row in rows)
    assert "decoder" in rows[0][0] and "trained on" in rows[0][2] and rows[4][2] == "not known to this version"


def test_pictures_of_a_deployment_stay_on_the_nodes(tmp_path: Path) -> None:
    line = {"stage": "images", "node": "0", "pictures": 200, "rendered": 200, "folder": "/elsewhere/node_0"}
    away, gone = (written(tmp_path / str(here), [{**line, "here": here}]) for here in (False, True))
    run = read(away)
    assert "Node 0: 200 pictures stay on the node, in /elsewhere/node_0." in page.html([run])
    assert run.notes == []
    assert "pictures are not shown" in page.html([read(gone)])
    assert "not shown" not in page.html([read(away), run])


def sweep(folder: Path, **more: Any) -> list[Path]:
    """Three seeds of kd, one of fedavg; each with its pictures."""
    made = []
    for name, aggregation, seed, right in (
        ("a", "kd", 1, 8),
        ("b", "kd", 2, 9),
        ("c", "kd", 3, 10),
        ("d", "fedavg", 1, 5),
    ):
        place = folder / "pictures" / name / "node_0"
        place.mkdir(parents=True)
        for k in range(30):
            shade = 100 if k < 10 else 60 + 8 * right + k  # the first ten are the same in all runs
            Image.new("RGB", (8, 8), (shade, 0, 0)).save(place / f"dog_{k + 1:04d}.png")
        lines = [
            evaluated(right),
            {"stage": "images", "node": "0", "pictures": 30, "rendered": 30, "folder": str(place)},
        ]
        settings = {"name": aggregation, **({"mixup": 0.3} if aggregation == "kd" else {})}
        places = {"generator": {"checkpoint_dir": f"checkpoints/{name}"}, "images_output_dir": f"out/{name}"}
        run = written(folder / "runs" / name, lines, seed=seed, aggregation=settings, **places, **more)
        made.append(run)
    return made


def test_runs_that_differ_in_their_seed_are_taken_together(tmp_path: Path) -> None:
    runs = [read(folder) for folder in sweep(tmp_path)]
    rows = seeds.rows(runs)
    assert [row[:3] for row in rows] == [["aggregation.name=kd", "3", "kd"], ["aggregation.name=fedavg", "1", "kd"]]
    assert rows[0][4] == "0.900 ± 0.100" and rows[1][4] == "0.500" and rows[0][3] == "-"
    assert seeds.rows([runs[0], runs[3]]) == []
    assert seeds.rows([runs[0], runs[0]]) == []  # one seed, twice


def test_steps_that_draw_with_other_adapters_are_not_seeds_of_each_other(tmp_path: Path) -> None:
    made = [
        read(written(tmp_path / name, [], seed=seed, series="guide", adapter={"checkpoint_dir": f"adapters/{used}"}))
        for name, seed, used in (("one", 1, "guide"), ("two", 2, "guide-kd"))
    ]
    assert seeds.groups(made) == {}


def test_a_comparison_shows_pictures_that_differ(tmp_path: Path) -> None:
    text = page.html([read(folder) for folder in sweep(tmp_path)])
    assert "dog: of the first 30, those that differ most; 10 are the same" in text


def test_a_comparison_keeps_the_pages_before_it(tmp_path: Path) -> None:
    sweep(tmp_path)
    first = vegas(tmp_path, "compare", "a", "b", "c").stdout
    assert "aggregation" not in first and "all: kd -, 0.900 ± 0.100 (3 seeds)" in first
    assert first.splitlines()[-1] == "page: runs/compare-a-b-c.html"
    assert vegas(tmp_path, "compare", "a", "d").stdout.splitlines()[-1] == "page: runs/compare-a-d.html"
    before = (tmp_path / "runs/compare-a-b-c.html").read_bytes()
    assert "page: runs/compare-a-b-c.html" in vegas(tmp_path, "compare", "a", "b", "c").stdout  # nothing has changed
    with open(tmp_path / "runs/c/metrics.jsonl", "a") as metrics:
        metrics.write(json.dumps({**evaluated(2), "time": 2e9}) + "\n")
    assert "page: runs/compare-a-b-c-2.html" in vegas(tmp_path, "compare", "a", "b", "c").stdout
    assert (tmp_path / "runs/compare-a-b-c.html").read_bytes() == before
    refused = vegas(tmp_path, "compare", "a", "b", "--output", "runs/a/metrics.jsonl", code=1)
    assert "exists and is not a page" in refused.stderr
    vegas(tmp_path, "compare", "a", "b", "--output", "runs/compare-a-d.html")
    assert "two runs or more" in vegas(tmp_path, "compare", "a", "runs/a", code=1).stderr


@pytest.mark.slow
def test_nothing_scrolls_off_a_page_1400_pixels_wide(tmp_path: Path) -> None:
    figures = {key: 0.5 for name in ("purity", "recall", "precision", "nearest") for key in (name, f"{name}_ceiling")}
    lines = [
        *(evaluated(8, (0.1, 0.3), adapter, branch) for adapter in ("local", "kd") for branch in ("clip", "t5")),
        *({"stage": "generator quality", "label": label, **figures} for label in ("chainsaw", "dog")),
        {"stage": "own adapter", "round": 1, "node": "0", "branch": "t5", "own": 0.5, "own_clips": 3},
        {"stage": "traffic", "message": "train.adapter", "node": "0", "down": 10**9, "up": 10**9, "seconds": 1.0},
    ]
    many = [f"a-sweep-of-many-long-names-seed={k % 3},rounds={k}" for k in range(6)]
    runs = [read(written(tmp_path / name, lines, seed=k % 3, rounds=k // 3)) for k, name in enumerate(many)]
    with browser(tmp_path) as tab:
        for name, chosen in (("one", runs[:1]), ("all", runs)):
            (tmp_path / f"{name}.html").write_text(page.html(chosen), "utf8")
            tab.open(tmp_path / f"{name}.html", 1400)
            tab.value("document.querySelectorAll('details').forEach(d => d.open = true)")
            cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
            assert tab.value(f"{cut}.map(e => e.querySelector('table').id)") == []
            assert tab.value("document.documentElement.scrollWidth") <= 1400
