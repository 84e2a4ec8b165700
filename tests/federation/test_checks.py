"""Of each kind of reply, an honest one, ones the models refuse, and ones that do not fit the run."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from vegas_fl.algorithm.fidelity import MEASURED
from vegas_fl.algorithm.metrics import RESAMPLES
from vegas_fl.config import compose
from vegas_fl.federation.checks import (
    check_description,
    check_evaluation,
    check_pictures,
    check_quality,
    check_samples,
)
from vegas_fl.federation.messages import (
    Description,
    Evaluation,
    GeneratorQuality,
    Pictures,
    TrainedAdapter,
    Values,
)

NAN, BIG = float("nan"), 10**400
Keys = tuple[Any, ...]
GONE = object()


def changed(values: dict[str, Any], keys: Keys, value: Any) -> dict[str, Any]:
    """A copy with another entry, or without it."""
    values = copy.deepcopy(values)
    inner: Any = values
    for key in keys[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return values


def read(model: type[Values], values: dict[str, Any]) -> Any:
    """What the server reads of a reply."""
    return model.model_validate_json(json.dumps(values))


def refused(model: type[Values], values: dict[str, Any]) -> bool:
    """Whether the model alone refuses a reply."""
    try:
        read(model, values)
    except ValidationError:
        return True
    return False


DESCRIPTION = {
    **{"node": "0", "notes": {"dog": ["a note"]}, "train": {"dog": 5}, "val": {}, "test": {"dog": 2}},
    "manifest": {"train": {"dog": ["3f2a"]}, "val": {}, "test": {}},
    "audio": {"tokens": 8, "width": 1024, "fingerprint": "x"},
}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        *[(("node",), node) for node in ("abc", "\u0660", "-1", "1" * 10, 0, [0], None, GONE)],
        *[(("notes",), {"dog": notes}) for notes in (3, "x", [1], ["x" * 2001], [""] * 1001)],
        (("notes",), ["a note"]),
        *[(("train",), counts) for counts in ("x", {"dog": -1}, {"dog": 1.5}, {"dog": True}, {"dog": BIG}, {"": 1})],
        (("train",), {"x" * 256: 1}),
        *[(("audio",), audio) for audio in ("x", {})],
        *[(("audio", "tokens"), tokens) for tokens in ("8", 0, 10**9)],
        (("audio", "fingerprint"), "x" * 129),
        (("audio", "more"), 1),
        *[(("manifest",), manifest) for manifest in ("x", {"train": {"dog": ["a" * 129]}}, {"other": {}})],
        (("more",), 1),
    ],
)
def test_a_description_has_bounds(keys: Keys, value: Any) -> None:
    assert not refused(Description, DESCRIPTION)
    assert refused(Description, changed(DESCRIPTION, keys, value))


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("node",), "99", "claims to be node '99'; the configuration has the nodes 0, 1"),
        (("train",), {"cat": 1}, "claims train clips of cat, which it does not select"),
        (("audio",), GONE, "does not describe its audio embeddings"),
        (("manifest",), GONE, "does not describe its clips"),
    ],
)
def test_a_node_that_cannot_be_what_it_says_does_not_take_part(keys: Keys, value: Any, reason: str) -> None:
    config = compose(["nodes.0.selected_classes=[dog]"])
    assert check_description(read(Description, DESCRIPTION), config) is None
    assert reason in str(check_description(read(Description, changed(DESCRIPTION, keys, value)), config))


TRAINED = {"samples": {"dog": 5}, "clips": 5, "metrics": {"loss": 0.5}}


@pytest.mark.parametrize("metrics", [{"loss": "x"}, {"loss": [1.0]}, {"loss": True}, {"loss": BIG}, "x", None, GONE])
def test_figures_of_a_training_are_numbers(metrics: Any) -> None:
    assert refused(TrainedAdapter, changed(TRAINED, ("metrics",), metrics))
    assert not refused(TrainedAdapter, changed(TRAINED, ("metrics",), {"loss": NAN, "epochs": 0}))


@pytest.mark.parametrize("count", [-1, 2.5, True, BIG, "5", None])
def test_counts_of_clips_are_counts(count: Any) -> None:
    assert refused(TrainedAdapter, changed(TRAINED, ("samples", "dog"), count))


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ({"dog": 9}, "claims 9 training clips of dog, expected 1 to 5"),
        ({"dog": 0}, "claims 0 training clips"),
        ({"cat": 1}, "does not own: cat"),
        ({}, "does not say what it trained on"),
    ],
)
def test_counts_that_cannot_be_true(samples: dict[str, int], reason: str) -> None:
    entry, described = compose().nodes["0"], read(Description, DESCRIPTION)
    assert check_samples(read(TrainedAdapter, TRAINED), described, entry) is None
    assert reason in str(check_samples(read(TrainedAdapter, TRAINED | {"samples": samples}), described, entry))
    many = read(TrainedAdapter, TRAINED | {"samples": {"dog": 10**6}})
    boasts = read(Description, changed(DESCRIPTION, ("train", "dog"), 10**6))
    assert "expected 1 to 200" in str(check_samples(many, boasts, entry))


SUMS = {"confusion": [[2, 0], [1, 3]], "cosine": 3.5, "mse": 1.0}
EVALUATION = {"clips": 6, "figures": {name: {"clip": SUMS, "t5": SUMS} for name in ("kd", "fedavg")}}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("kd", "t5"), GONE),
        (("kd", "t6"), SUMS),
        (("x" * 65,), {"clip": SUMS, "t5": SUMS}),
        (("kd", "clip", "x"), 1.0),
        *[(("kd", "clip", "cosine"), cosine) for cosine in (NAN, BIG, 1.7e308, [1.0], "1", GONE)],
        *[(("kd", "clip", "mse"), mse) for mse in (NAN, -1.0, 1.7e308)],
        *[(("kd", "clip", "confusion"), rows) for rows in ([[NAN, 0], [0, 0]], [[0.5, 0], [0, 0]], "x", None)],
        *[(("kd", "clip", "confusion"), [[count, 0], [0, 0]]) for count in (-2, BIG)],
    ],
)
def test_an_evaluation_has_bounds(keys: Keys, value: Any) -> None:
    assert not refused(Evaluation, EVALUATION)
    assert refused(Evaluation, changed(EVALUATION, ("figures", *keys), value))


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("strange",), {"clip": SUMS, "t5": SUMS}, "scored adapter 'strange', expected local, fedavg, kd"),
        (("kd", "clip", "confusion"), [[1]], "invalid confusion matrix for adapter kd"),
        (("kd", "clip", "confusion"), [[0, 0], [0, 0]], "invalid confusion matrix for adapter kd"),
        (
            ("kd", "clip", "confusion"),
            [[3, 0], [0, 0]],
            "scored adapter kd on [3, 0] clips per class, but holds [2, 4]",
        ),
        (("kd", "t5", "confusion"), [[10**6, 0], [0, 0]], "scored adapter kd on [1000000, 0] clips"),
        (("kd", "clip", "cosine"), 7.0, "invalid metrics for adapter kd: cosine sum 7"),
    ],
)
def test_an_evaluation_counts_clips_the_node_has(keys: Keys, value: Any, reason: str) -> None:
    candidates, held = {"local": 3, "fedavg": 1, "kd": 1}, {0: 2, 1: 4}
    assert check_evaluation(read(Evaluation, EVALUATION), candidates, held) is None
    local = {"clips": 3, "figures": {"local": {"clip": SUMS, "t5": SUMS}}}
    assert check_evaluation(read(Evaluation, local), candidates, {0: 1, 1: 2}) is None
    assert "says it has 2" in str(check_evaluation(read(Evaluation, EVALUATION | {"clips": 2}), candidates, held))
    lie = read(Evaluation, changed(EVALUATION, ("figures", *keys), value))
    assert reason in str(check_evaluation(lie, candidates, held))


RESAMPLED = {**SUMS, "margin": 1.5, "resampled": [1.0] * RESAMPLES, "resampled_margin": [2.0] * RESAMPLES}
SAMPLED = {
    **{"clips": 6, "recordings": 2, "resampled": [6.0] * RESAMPLES},
    "figures": {name: {"clip": {**RESAMPLED}, "t5": {**RESAMPLED}} for name in ("local", "kd")},
    "locals": {"0": {"clip": [1, 0], "t5": [1, 1]}},
}


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("recordings",), 0, "claims 0 recordings of 6 clips"),
        (("recordings",), 7, "claims 7 recordings of 6 clips"),
        *[(("resampled",), values, "impossible resamples") for values in ([], [6.0], [9.0] * RESAMPLES)],
        (("resampled",), [0.0, *[6.0] * (RESAMPLES - 1)], "impossible resamples"),
        (("figures", "kd", "t5", "resampled"), [], "returned 0 resamples for adapter kd"),
        (("figures", "kd", "t5", "resampled_margin"), [1.0], "resamples for adapter kd"),
        (("figures", "kd", "clip", "resampled"), [7.0] * RESAMPLES, "impossible resamples for adapter kd"),
        (("figures", "kd", "clip", "resampled"), [-1.0] * RESAMPLES, "impossible resamples for adapter kd"),
        (("figures", "local"), GONE, "scored the adapters of nodes 0"),
        (("locals", "1"), {"clip": [0, 0], "t5": [0, 0]}, "scored the adapters of nodes 0, 1, expected 0"),
        (("locals", "0", "t5"), [5, 0], "says [5, 0] clips per class are right for the adapter of node 0"),
        (("locals", "0", "t5"), [1], "says [1] clips per class are right"),
    ],
)
def test_resamples_and_own_adapters_are_of_the_clips_the_node_has(keys: Keys, value: Any, reason: str) -> None:
    candidates, held = {"local": 1, "kd": 1}, {0: 2, 1: 4}
    assert check_evaluation(read(Evaluation, SAMPLED), candidates, held, ["0"]) is None
    assert reason in str(check_evaluation(read(Evaluation, changed(SAMPLED, keys, value)), candidates, held, ["0"]))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        *[(("resampled",), values) for values in ([1.0] * 1001, [NAN], ["x"], None)],
        (("figures", "kd", "clip", "margin"), NAN),
        *[(("locals",), own) for own in ({"x": {"clip": [], "t5": []}}, {"0": {"clip": [-1], "t5": []}}, {"0": {}})],
    ],
)
def test_resamples_and_own_adapters_have_bounds(keys: Keys, value: Any) -> None:
    assert not refused(Evaluation, SAMPLED)
    assert refused(Evaluation, changed(SAMPLED, keys, value))


def test_resamples_of_some_nodes_only_are_dropped() -> None:
    """Nodes of an earlier version send none: the sum is still valid, without intervals."""
    new, old = read(Evaluation, SAMPLED).figures["kd"], read(Evaluation, EVALUATION).figures["kd"]
    assert (new + new).clip.resampled == [2.0] * RESAMPLES and (new + new).t5.margin == 3.0
    for total in (new + old, old + new):
        assert total.clip.resampled == total.clip.resampled_margin == [] and total.clip.margin is None
        assert total.clip.cosine == 2 * new.clip.cosine


QUALITY: dict[str, Any] = {
    "figures": {"dog": {name: 0.5 for figure in MEASURED for name in (figure, f"{figure}_ceiling")}},
    **{"clips": 2, "held_out": {"dog": 2}, "samples": {"dog": 10}},
}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        *[(("figures", "dog", "recall"), recall) for recall in (NAN, "1", [1.0], 1.7e308)],
        *[(("held_out", "dog"), count) for count in (-5, "2", BIG)],
        *[((key,), GONE) for key in ("held_out", "samples", "figures")],
        (("samples", "dog"), -1),
    ],
)
def test_figures_of_generators_have_bounds(keys: Keys, value: Any) -> None:
    assert not refused(GeneratorQuality, changed(QUALITY, ("figures", "dog", "recall"), None))
    assert refused(GeneratorQuality, changed(QUALITY, keys, value))


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("figures", "cat"), QUALITY["figures"]["dog"], "generator of cat, which it was not asked for"),
        (("figures", "dog", "recall"), GONE, "invalid metrics for the generator of dog"),
        (("figures", "dog", "more"), 1.0, "invalid metrics for the generator of dog"),
        (("held_out", "dog"), 3, "claims 3 held-out clips of dog, but holds 2"),
        (("held_out", "dog"), GONE, "claims 0 held-out clips of dog"),
        (("samples", "dog"), GONE, "held-out clips of dog"),
    ],
)
def test_figures_of_generators_are_of_the_nodes_own(keys: Keys, value: Any, reason: str) -> None:
    described = read(Description, DESCRIPTION)
    assert check_quality(read(GeneratorQuality, QUALITY), described, "test", {"dog"}) is None
    lie = read(GeneratorQuality, changed(QUALITY, keys, value))
    assert reason in str(check_quality(lie, described, "test", {"dog"}))


PICTURES = {
    **{"pictures": 4, "rendered": 4, "missing": 0, "seconds": 1.5, "folder": "output-dir/x", "notes": []},
    "judged": {"confusion": [[3, 1], [0, 0]], "clip_score": 90.0},
}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        *[((key,), count) for key in ("pictures", "rendered", "missing") for count in (-1, 1.0, True, "x", BIG, GONE)],
        *[(("seconds",), seconds) for seconds in (NAN, -1.0)],
        *[(("folder",), folder) for folder in (3, "x" * 4097, GONE)],
        *[(("notes",), notes) for notes in ("abc", [1])],
        *[(("judged",), judged) for judged in ("x", {})],
        (("judged", "confusion"), [[-1, 2], [0, 0]]),
        *[(("judged", "clip_score"), score) for score in (NAN, None, -1.0, GONE)],
    ],
)
def test_a_reply_about_pictures_has_bounds(keys: Keys, value: Any) -> None:
    assert not refused(Pictures, PICTURES)
    assert refused(Pictures, changed(PICTURES, keys, value))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pictures": 5}, "impossible counts of pictures: (5, 4, 0), of at most 4"),
        ({"rendered": 5}, "impossible counts"),
        ({"missing": 5}, "impossible counts"),
        ({"rendered": 0, "missing": 2}, "rendered nothing, and 2 pictures are missing"),
        *[
            ({"judged": {"confusion": rows, "clip_score": 1.0}}, "invalid confusion matrix of its pictures")
            for rows in ([[1]], [[5, 0], [0, 0]], [[0, 0], [0, 0]])
        ],
        ({"judged": {"confusion": [[3, 1], [0, 0]], "clip_score": 500.0}}, "impossible CLIP score for 4 pictures: 500"),
        *[
            (
                {"judged": PICTURES["judged"] | {"frames": frames, "image_similarity": 3.5}},
                f"similarity to {frames} frames",
            )
            for frames in (0, 3, 5)
        ],
    ],
)
def test_counts_of_pictures_are_of_pictures_that_were_asked_for(change: dict[str, Any], reason: str) -> None:
    assert check_pictures(read(Pictures, PICTURES), {}, 4, 2, None) is None
    assert check_pictures(read(Pictures, PICTURES | {"judged": None}), {}, 4, 2, 8) is None
    assert reason in str(check_pictures(read(Pictures, PICTURES | change), {}, 4, 2, None))


@pytest.mark.parametrize(
    "features", [torch.ones(5, 8), torch.ones(4), torch.ones(4, 7), torch.ones(0, 8), torch.full((4, 8), NAN), None]
)
def test_features_of_pictures_can_be_compared_with_real_ones(features: torch.Tensor | None) -> None:
    pictures = read(Pictures, PICTURES)
    assert check_pictures(pictures, {"pictures": {"features": torch.ones(4, 8)}}, 4, 2, 8) is None
    states = {} if features is None else {"pictures": {"features": features}}
    assert "returned picture features" in str(check_pictures(pictures, states, 4, 2, 8))
