"""Nodes that lie in whole runs: whatever they say, it costs their own share and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Context, Message
from PIL import Image

from tests.support.nodes import Nodes, lines, run
from vegas_fl.core.errors import VegasError
from vegas_fl.federation.checks import LONGEST
from vegas_fl.federation.messages import (
    DESCRIBE,
    EVALUATE,
    EVALUATE_GENERATOR,
    GENERATE,
    TRAIN_ADAPTER,
    TRAIN_GENERATOR,
    pack,
    unpack,
)

BIG = 10**400
INFINITE = float("inf")


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


def set_all(values: dict[str, Any], value: Any) -> None:
    """Put ``value`` in the place of every number."""
    for key, inner in values.items():
        if isinstance(inner, dict):
            set_all(inner, value)
        else:
            values[key] = value


def features(shape: tuple[int, ...]) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda values, states: states.update(pictures={"features": torch.ones(shape)})


LIES: list[tuple[str, Callable[[dict[str, Any], dict[str, Any]], object], str]] = [
    (TRAIN_GENERATOR, no_density, "cannot be sampled"),
    (TRAIN_GENERATOR, lambda values, states: values["metrics"].clear(), "no training metrics for dog"),
    (TRAIN_GENERATOR, lambda values, states: values.update(problem="x" * 10**6), "xxx"),
    (TRAIN_GENERATOR, lambda values, states: set_all(values["metrics"], BIG), "invalid reply: metrics.dog"),
    (TRAIN_GENERATOR, lambda values, states: values["samples"].update(dog=BIG), "invalid reply: samples.dog"),
    (TRAIN_ADAPTER, lambda values, states: values["metrics"].update({"a" * 10**5: 1.0}), "invalid reply: metrics.aaa"),
    (TRAIN_ADAPTER, lambda values, states: set_all(values["metrics"], INFINITE), "invalid reply: metrics."),
    (TRAIN_ADAPTER, lambda values, states: values.update(worked={"<script>": 1}), "invalid reply: worked"),
    (
        EVALUATE_GENERATOR,
        lambda values, states: values["figures"]["dog"].popitem(),
        "invalid metrics for the generator",
    ),
    (EVALUATE_GENERATOR, lambda values, states: values.pop("held_out"), "invalid reply: held_out: field required"),
    (
        EVALUATE,
        lambda values, states: values["figures"]["kd"].pop("t5"),
        "invalid reply: figures.kd.t5: field required",
    ),
    (
        EVALUATE,
        lambda values, states: values["figures"]["kd"]["t5"].update(mse=BIG),
        "invalid reply: figures.kd.t5.mse",
    ),
    (
        EVALUATE,
        lambda values, states: values["figures"]["kd"]["t5"].update(cosine=1e9),
        "invalid metrics for adapter kd",
    ),
    (GENERATE, lambda values, states: values["judged"].clear(), "invalid reply: judged.confusion: field required"),
    (GENERATE, lambda values, states: values.pop("folder"), "invalid reply: folder: field required"),
    (GENERATE, lambda values, states: values.update(notes=["x" * 1000] * 20_000), "invalid reply: notes: "),
    (GENERATE, lambda values, states: states.clear(), "picture features of shape [0], expected [4, "),
    (GENERATE, features((4, 3)), "picture features of shape [4, 3], expected [4, "),
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real pictures, so that nodes send features of theirs."""
    folder = tmp_path_factory.mktemp("reference")
    for name, colour in (("a", "red"), ("b", "green")):
        Image.new("RGB", (64, 64), colour).save(folder / f"{name}.png")
    return folder


FIRST = {kind: (kind, lie, told) for kind, lie, told in reversed(LIES)}
"""One lie of each kind, which the fast tests try; the others are slow only because each is a run."""


@pytest.mark.parametrize(
    ("kind", "lie", "told"),
    [pytest.param(*lie, marks=() if lie in FIRST.values() else pytest.mark.slow) for lie in LIES],
)
def test_a_lie_of_any_kind_costs_the_liar_alone(
    embedding_cache: Path, reference: Path, tmp_path: Path, kind: str, lie: Any, told: str
) -> None:
    """None of these may end the run: the others are enough. Each run has the stages up to the lie."""
    stages = {
        TRAIN_GENERATOR: ["stages=[generators]"],
        EVALUATE_GENERATOR: ["stages=[generators]", "evaluation.generators=true"],
        GENERATE: ["stages=[generators,adapters,images]", "evaluation.split=none"],
    }
    few = (
        *(["federation.min_nodes=4"] if told == "xxx" else []),  # a node that says it cannot is not refused
        *stages.get(kind, ["stages=[generators,adapters]"]),
        *("generator.epochs=1", "adapter.local_epochs=1", "aggregation.epochs=1", "generator.checkpoint_dir=g"),
        *(f"nodes.{node}.samples_per_node=4" for node in range(5)),
        *(f"images_output_dir={tmp_path / 'pictures'}", f"evaluation.reference={reference}"),
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
            if context.node_config["partition-id"] == 4 and message.metadata.message_type == DESCRIBE:
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
    assert ids and [node for node, kind in nodes.asked if node == "4" and kind != DESCRIBE] == []


def test_who_does_not_say_who_it_is_is_left_out(
    embedding_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = Liar(DESCRIBE, lambda values, states: values.update(node="99"))
    few = ("stages=[generators]", "generator.epochs=1", "generator.checkpoint_dir=g")
    run(tmp_path, embedding_cache, nodes, tmp_path, *few)
    assert "claims to be node '99'; the configuration has the nodes 0, 1" in caplog.text
    assert {line["node"] for line in lines(tmp_path, "generators") if "node" in line} == set("0234")


@pytest.mark.parametrize(
    "lie",
    [
        {"node": "\u0660"},
        {"notes": {"dog": ["x" * 1000] * 20_000}},
        {"test": {"dog": BIG}},
        {"manifest": {"train": {"dog": ["a" * 1000]}, "val": {}, "test": {}}},
        {"manifest": functools.reduce(lambda inner, _: {"a": inner}, range(150), {})},
        {"audio": {"tokens": 8, "width": 10**9, "fingerprint": "x"}},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_a_description_without_bounds_is_refused_with_a_sentence(
    embedding_cache: Path, tmp_path: Path, lie: dict[str, Any]
) -> None:
    nodes = Liar(DESCRIBE, lambda values, states: values.update(lie))
    with pytest.raises(VegasError, match="nothing was trained") as stop:
        few = ("stages=[generators]", "generator.checkpoint_dir=g", "federation.min_nodes=5")
        run(tmp_path, embedding_cache, nodes, tmp_path, *few)
    assert len(str(stop.value)) < 3 * LONGEST
