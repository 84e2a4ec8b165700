"""What a node says is looked through before it is used: of each kind of answer, an honest one and odd ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Context, Message

from tests.support.nodes import Nodes, lines, run
from vegas_fl.algorithm.fidelity import MEASURED
from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.federation.checks import (
    LONGEST,
    odd_description,
    odd_evaluation,
    odd_pictures,
    odd_quality,
    odd_training,
)
from vegas_fl.federation.messages import (
    EVALUATE,
    EVALUATE_GENERATOR,
    GENERATE,
    TRAIN_GENERATOR,
    pack,
    unpack,
)

NAN = float("nan")
Keys = tuple[Any, ...]
GONE = object()


def changed(values: dict[str, Any], keys: Keys, value: Any) -> dict[str, Any]:
    """A copy with one entry otherwise, or without it."""
    values = copy.deepcopy(values)
    inner: Any = values
    for key in keys[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return values


def reason(check: Callable[[], str | None]) -> str | None:
    """What is told of an answer: what a check raises is a reason too."""
    try:
        return check()
    except Exception as error:
        return type(error).__name__


DESCRIPTION = {
    **{"node": "0", "notes": ["a note"], "train": {"dog": 5}, "val": {}, "test": {"dog": 2}, "manifest": {}},
    "audio": {"tokens": 8, "width": 1024, "fingerprint": "x"},
}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        *[(("node",), node) for node in ("99", "abc", 0, [0], None, GONE)],
        *[(("notes",), notes) for notes in (3, "x", [1], GONE)],
        *[(("train",), counts) for counts in ("x", {"dog": -1}, {"dog": 1.5}, {"dog": True}, {"cat": 1}, GONE)],
        *[(("audio",), audio) for audio in ("x", {}, GONE)],
        (("audio", "tokens"), "8"),
        (("manifest",), "x"),
    ],
)
def test_a_node_that_cannot_be_what_it_says_does_not_take_part(keys: Keys, value: Any) -> None:
    config = compose(["nodes.0.selected_classes=[dog]"])
    assert odd_description(DESCRIPTION, config) is None
    assert reason(lambda: odd_description(changed(DESCRIPTION, keys, value), config))


SUMS = {"confusion": [[2, 0], [1, 3]], "cosine": 3.5, "mse": 1.0}
EVALUATION = {name: {"clip": SUMS, "t5": SUMS} for name in ("kd", "fedavg")}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("strange",), {"clip": SUMS, "t5": SUMS}),
        (("kd", "t5"), GONE),
        (("kd", "t6"), SUMS),
        (("kd", "clip", "x"), 1.0),
        *[(("kd", "clip", "cosine"), cosine) for cosine in (NAN, [1.0], "1", GONE)],
        *[(("kd", "clip", "confusion"), rows) for rows in ([[1]], [[NAN, 0], [0, 0]], [[0.5, 0], [0, 0]], "x", None)],
        (("kd", "clip", "confusion"), [[-2, 4], [0, 0]]),
        (("kd", "clip", "confusion"), [[3, 0], [0, 0]]),
        (("kd", "clip", "confusion"), [[10**9, 0], [0, 10**9]]),
        (("kd", "clip", "confusion"), [[0, 0], [0, 0]]),
    ],
)
def test_an_evaluation_counts_clips_the_node_has(keys: Keys, value: Any) -> None:
    candidates, held = {"local": 3, "fedavg": 1, "kd": 1}, {0: 2, 1: 4}
    assert odd_evaluation(EVALUATION, candidates, held) is None
    assert odd_evaluation({"local": {"clip": SUMS, "t5": SUMS}}, candidates, {0: 1, 1: 2}) is None
    assert reason(lambda: odd_evaluation(changed(EVALUATION, keys, value), candidates, held))


QUALITY = {
    "figures": {"dog": {name: 0.5 for figure in MEASURED for name in (figure, f"{figure}_ceiling")}},
    **{"held_out": {"dog": 2}, "samples": {"dog": 10}},
}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("figures", "cat"), QUALITY["figures"]["dog"]),
        (("figures", "dog", "recall"), GONE),
        (("figures", "dog", "more"), 1.0),
        *[(("figures", "dog", "recall"), recall) for recall in (NAN, "1", [1.0])],
        *[(("held_out", "dog"), count) for count in (0, -5, 3, "2", GONE)],
        (("samples", "dog"), -1),
    ],
)
def test_figures_of_generators_are_of_the_nodes_own(keys: Keys, value: Any) -> None:
    described = {"test": {"dog": 2}}
    assert odd_quality(QUALITY, described, "test", {"dog"}) is None
    assert odd_quality(changed(QUALITY, ("figures", "dog", "recall"), None), described, "test", {"dog"}) is None
    assert reason(lambda: odd_quality(changed(QUALITY, keys, value), described, "test", {"dog"}))


PICTURES = {
    **{"pictures": 4, "rendered": 4, "missing": 0, "seconds": 1.5, "folder": "output-dir/x", "notes": []},
    "judged": {"confusion": [[3, 1], [0, 0]], "clip_score": 90.0},
}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        *[((key,), count) for key in ("pictures", "rendered", "missing") for count in (-1, 5, 1.0, True, "x", GONE)],
        (("seconds",), NAN),
        *[(("folder",), folder) for folder in (3, GONE)],
        *[(("notes",), notes) for notes in ("abc", GONE)],
        *[(("judged",), judged) for judged in ("x", {}, GONE)],
        *[(("judged", "confusion"), rows) for rows in ([[1]], [[-1, 2], [0, 0]], [[5, 0], [0, 0]], [[0, 0], [0, 0]])],
        *[(("judged", "clip_score"), score) for score in (NAN, None, GONE)],
    ],
)
def test_counts_of_pictures_are_of_pictures_that_were_asked_for(keys: Keys, value: Any) -> None:
    assert odd_pictures(PICTURES, {}, 4, 2) is None
    assert odd_pictures(PICTURES | {"judged": None}, {"pictures": {"features": torch.ones(4, 8)}}, 4, 2) is None
    assert reason(lambda: odd_pictures(changed(PICTURES, keys, value), {}, 4, 2))


def test_a_node_that_draws_nothing_is_not_asked_for_ever() -> None:
    assert "draws nothing" in str(odd_pictures(PICTURES | {"rendered": 0, "missing": 2}, {}, 4, 2))
    for features in (torch.ones(5, 8), torch.ones(4), torch.full((4, 8), NAN)):
        assert "features" in str(odd_pictures(PICTURES, {"pictures": {"features": features}}, 4, 2))


def test_figures_of_a_training_are_numbers() -> None:
    assert odd_training({"loss": NAN, "epochs": 0}) is None
    for odd in ({"loss": "x"}, {"loss": [1.0]}, "x", None, {"loss": True}):
        assert "odd" in str(odd_training(odd))


class Liar(Nodes):
    """Node 1 answers one kind of message otherwise."""

    def __init__(self, kind: str, lie: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        super().__init__(5)
        self.kind, self.lie = kind, lie

    def _answer(self, message: Message, context: Context) -> Message:
        reply = super()._answer(message, context)
        if context.node_config["partition-id"] == 1 and message.metadata.message_type == self.kind:
            values, states = unpack(reply.content)
            self.lie(values, states)
            reply.content = pack(values, states)
        return reply


def no_density(values: dict[str, Any], states: dict[str, Any]) -> None:
    states["generator.dog"] = {name: -tensor for name, tensor in states["generator.dog"].items()}


LIES: list[tuple[str, Callable[[dict[str, Any], dict[str, Any]], object], str]] = [
    (TRAIN_GENERATOR, no_density, "nothing can be drawn from it"),
    (TRAIN_GENERATOR, lambda values, states: values["metrics"].clear(), "figures of the training are odd"),
    (TRAIN_GENERATOR, lambda values, states: values.update(problem="x" * 10**6), "xxx"),
    (EVALUATE_GENERATOR, lambda values, states: values["figures"]["dog"].popitem(), "figures of the generator of dog"),
    (EVALUATE, lambda values, states: values["figures"]["kd"].pop("t5"), "it judged kd (clip)"),
    (GENERATE, lambda values, states: values["judged"].clear(), "KeyError: 'confusion'"),
    (GENERATE, lambda values, states: values.pop("folder"), "KeyError: 'folder'"),
]


@pytest.mark.parametrize(("kind", "lie", "told"), LIES)
def test_a_lie_of_any_kind_costs_the_liar_alone(
    embedding_cache: Path, tmp_path: Path, kind: str, lie: Any, told: str
) -> None:
    """None of these may end the run: four nodes are enough."""
    few = (
        *("federation.min_nodes=4", "stages=[generators,adapters,images]", "evaluation.generators=true"),
        *("generator.epochs=1", "adapter.local_epochs=1", "aggregation.epochs=1", "generator.checkpoint_dir=g"),
        *(f"nodes.{node}.samples_per_node=4" for node in range(5)),
        f"images_output_dir={tmp_path / 'pictures'}",
    )
    run(tmp_path, embedding_cache, Liar(kind, lie), tmp_path, *few)
    (dropped,) = lines(tmp_path, "dropped")
    assert (dropped["node"], dropped["message"]) == ("1", kind) and told in dropped["reason"]
    assert len(dropped["reason"]) <= LONGEST
    assert "problem" not in lines(tmp_path, "end")[-1]


def test_a_node_cannot_take_the_place_of_one_that_is_there(embedding_cache: Path, tmp_path: Path) -> None:
    """Not even one that is registered: it joins in the middle of a run and says that it is node 0."""

    class Usurper(Nodes):
        def _answer(self, message: Message, context: Context) -> Message:
            reply = super()._answer(message, context)
            if context.node_config["partition-id"] == 4 and message.metadata.message_type == "query.describe":
                values, states = unpack(reply.content)
                reply.content = pack(values | {"node": "0"}, states)
            if context.node_config["partition-id"] == 4 and message.metadata.message_type == TRAIN_GENERATOR:
                raise AssertionError("it was asked to train")
            if message.metadata.message_type == TRAIN_GENERATOR:
                self.gone = set()
            return reply

    nodes = Usurper(5)
    nodes.gone = {"4"}
    few = ("federation.min_nodes=4", "federation.wait=0.3", "stages=[generators,adapters]", "generator.epochs=1")
    run(tmp_path, embedding_cache, nodes, tmp_path, *few, "generator.checkpoint_dir=g")
    trained = [line["node"] for line in lines(tmp_path, "adapters") if "training" in line]
    assert trained == ["0", "1", "2", "3"]
    ids = [id_ for id_, context in nodes._contexts.items() if context.node_config["partition-id"] == 4]
    assert ids and [node for node, kind in nodes.asked if node == "4" and kind != "query.describe"] == []


def test_who_does_not_say_who_it_is_stops_the_run_with_a_sentence(embedding_cache: Path, tmp_path: Path) -> None:
    nodes = Liar("query.describe", lambda values, states: values.update(node="99"))
    with pytest.raises(VegasError, match="it says it is node '99'; the configuration has the nodes 0, 1"):
        run(tmp_path, embedding_cache, nodes, tmp_path, "stages=[generators]", "generator.checkpoint_dir=g")
