"""What runs record of adapters, generators and pictures."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from strategies import evaluation
from tests.support.command import vegas
from tests.support.once import Once

TINY = [
    *["stages=[generators,adapters]", "data.clips_per_class=30", "data.val_ratio=0", "data.test_ratio=0.4"],
    *["data.train_ratio=0.6", "generator.epochs=15", "generator.hidden=64", "adapter.local_epochs=2"],
    *["aggregation.epochs=1", "aggregation.samples_per_class=20", "threads=1"],
    *["nodes.0={selected_classes: [chainsaw, dog], samples_per_node: 60}"],
    *["nodes.1={selected_classes: [dog], samples_per_node: 60}"],
]
FIGURES = ("frechet", "precision", "recall", "density", "coverage", "diversity", "purity", "nearest")


def lines(folder: Path, stage: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "runs/demo/metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["stage"] == stage]


def rounded(line: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in line.items() if k != "time"}


@pytest.fixture(scope="module")
def trained(once: Once, embedding_cache: Path) -> Path:
    return once.copy("evaluation", lambda folder: vegas(folder, *TINY, f"paths.cache={embedding_cache}"))


def test_adapters_are_told_by_class_and_by_their_distance_to_the_targets(trained: Path) -> None:
    found = lines(trained, "evaluation")
    assert Counter((x["adapter"], x["branch"]) for x in found) == Counter(
        (a, b) for a in ("local", "fedavg", "kd") for b in ("clip", "t5")
    )
    for line in found:
        assert line["classes"] == ["chainsaw", "dog"]
        counts = torch.tensor(line["confusion"])
        assert counts.sum() == (2 if line["adapter"] == "local" else 1) * 24  # two local adapters, on all clips
        recall = counts.diagonal() / counts.sum(1)
        assert line["per_class"] == pytest.approx(dict(zip(line["classes"], recall.tolist(), strict=True)))
        assert -1 <= line["cosine"] <= 1 and line["mse"] > 0
        assert line["recordings"] == 24
        for key in ("accuracy", "margin", *["gain"] * (line["adapter"] != "local")):
            low, high = line[f"{key}_interval"]
            assert low <= line[key] <= high and high - low > 0.001, key


def test_each_nodes_own_adapter_is_told_on_its_own_and_on_the_others_classes(trained: Path) -> None:
    own = {(line["node"], line["branch"]): line for line in lines(trained, "own adapter")}
    total = {(line["adapter"], line["branch"]): line for line in lines(trained, "evaluation")}
    for branch in ("clip", "t5"):
        everything, dogs = own["0", branch], own["1", branch]
        assert everything["own_clips"] == 24 and "others" not in everything  # node 0 has both classes
        assert everything["own_shared"] == pytest.approx(total["kd", branch]["accuracy"])
        assert (dogs["own_clips"], dogs["others_clips"]) == (12, 12)
        assert dogs["own_shared"] == pytest.approx(total["kd", branch]["per_class"]["dog"])
        mean = (everything["own"] + (dogs["own"] + dogs["others"]) / 2) / 2
        assert mean == pytest.approx(total["local", branch]["accuracy"])


def test_generators_are_compared_with_real_clips_once_a_class(trained: Path) -> None:
    found = lines(trained, "generator quality")
    assert [line["label"] for line in found] == ["chainsaw", "dog"]
    for line in found:
        assert line["held_out"] == 12  # those of dog with two owners
        assert line["samples"] >= 200
        for name in FIGURES:
            assert math.isfinite(line[name]) and math.isfinite(line[f"{name}_ceiling"]), name
        assert line["purity_ceiling"] >= 0.9
        assert line["nearest"] > 0.3 * line["nearest_ceiling"]
    assert len(lines(trained, "evaluating generators")) == 1


@pytest.mark.slow
def test_loaded_generators_are_compared_before_they_are_distilled_from(
    trained: Path, tmp_path: Path, embedding_cache: Path
) -> None:
    """The same figures; with messages that hold one adapter each, the same evaluation; and neither if not asked for."""
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    again = [*TINY, "stages=[adapters]", f"paths.cache={embedding_cache}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "EVALUATION_BYTES", 1)
        vegas(tmp_path, *again)
    for stage in ("generator quality", "evaluation", "own adapter"):
        for one, other in zip(lines(trained, stage), lines(tmp_path, stage), strict=True):
            assert rounded(one) == rounded(other)
    (tmp_path / "runs/demo/metrics.jsonl").unlink()
    vegas(tmp_path, *again, "evaluation.generators=false")
    assert lines(tmp_path, "evaluation") and not lines(tmp_path, "generator quality")
    (tmp_path / "runs/demo/metrics.jsonl").unlink()
    vegas(tmp_path, *again, "evaluation.split=none")
    assert not lines(tmp_path, "evaluation") and not lines(tmp_path, "generator quality")


def test_pictures_are_scored_and_compared_with_real_ones(trained: Path, embedding_cache: Path, tmp_path: Path) -> None:
    few = [
        *TINY,
        "stages=[images]",
        "nodes.0.samples_per_node=4",
        "nodes.1.samples_per_node=3",
        "images.sheet_columns=0",
    ]
    for name in ("checkpoints", "reference"):
        shutil.copytree(trained / "checkpoints", tmp_path / name)
    few.append(f"paths.cache={embedding_cache}")
    vegas(tmp_path, *few)
    (line,) = lines(tmp_path, "judge")
    assert sum(map(sum, line["confusion"])) == 7 and len(line["classes"]) == 10
    assert set(line["per_class"]) == {"chainsaw", "dog"}
    assert 0 <= line["clip_score"] <= 100 and "fid" not in line
    wrong = vegas(tmp_path, *few, "evaluation.reference=reference", "renderer.judge=null", code=2)
    assert "evaluation.reference needs renderer.judge, which is null" in wrong.stderr
    assert "evaluation.reference=reference has 0 pictures" in wrong.stderr
    wrong = vegas(tmp_path, *few, "evaluation.reference=output_images/demo/node_0", "evaluation.inception=no", code=2)
    assert "evaluation.inception=no cannot be used: " in wrong.stderr
    for picture in (tmp_path / "output_images/demo").glob("node_*/*.png"):
        place = tmp_path / "reference" / picture.name.split("_")[0] / f"{picture.parent.name}_{picture.name}"
        place.parent.mkdir(exist_ok=True)
        shutil.copy(picture, place)
    vegas(tmp_path, *few, "evaluation.reference=reference")
    line = lines(tmp_path, "judge")[-1]
    assert line["fid"] == pytest.approx(0, abs=1e-4) and line["kid"] < 0.01  # features travel in half precision
