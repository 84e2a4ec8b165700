"""What a node says of its number of clips: it never counts for much more than the others do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message

from tests.support.nodes import Nodes, lines, run
from vegas_fl.algorithm.distillation import average
from vegas_fl.federation.messages import DESCRIBE, EVALUATE, TRAIN_ADAPTER, TRAIN_GENERATOR, pack, unpack
from vegas_fl.storage.adapters import load_adapter
from vegas_fl.storage.generators import load_class_generator
from vegas_fl.storage.names import find_adapters
from vegas_fl.storage.tensorfiles import norm

MANY = 10**6
"""Clips; of 10**15 the models say at once that this cannot be."""


class Boaster(Nodes):
    """Node 1 of three that hold dogs says that it has a million of them, and that all unseen ones are mistaken."""

    def _answer(self, message: Message, context: Context) -> Message:
        reply = super()._answer(message, context)
        boast = BOASTS.get(message.metadata.message_type)
        if context.node_config["partition-id"] == 1 and boast:
            values, states = unpack(reply.content)
            boast(values)
            reply.content = pack(values, states)
        return reply


def described(values: dict[str, Any]) -> None:
    values["train"], values["test"] = {"dog": MANY}, {"dog": MANY}


def trained(values: dict[str, Any]) -> None:
    values["samples"], values["clips"] = {"dog": 1000}, 1000


def evaluated(values: dict[str, Any]) -> None:
    larger = MANY / values["clips"]
    for branch in (of for branches in values["figures"].values() for of in branches.values()):
        branch["confusion"] = [[0, MANY, 0], [0, 0, 0], [0, 0, 0]]
        branch["resampled"] = [0.0 for _ in branch["resampled"]]
        branch["cosine"] = -MANY
        branch["mse"] = 100 * MANY
    values["resampled"] = [larger * count for count in values["resampled"]]
    values["clips"] = values["recordings"] = MANY


BOASTS: dict[str, Callable[[dict[str, Any]], None]] = {
    DESCRIBE: described,
    TRAIN_GENERATOR: trained,
    TRAIN_ADAPTER: trained,
    EVALUATE: evaluated,
}
FEW = (
    *("stages=[generators,adapters]", "generator.epochs=1", "adapter.local_epochs=1", "generator.checkpoint_dir=g"),
    "nodes.1.samples_per_node=1000",
)


@pytest.fixture(scope="module")
def boasted(embedding_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boasted")
    run(folder, embedding_cache, Boaster(5), folder, *FEW, "aggregation=fedavg")
    assert not lines(folder, "dropped")
    return folder


def test_a_mean_weighs_it_three_times_the_median(boasted: Path) -> None:
    assert load_class_generator(boasted / "g/vae_perclass_round_1_dog.safetensors").samples == {"0": 7, "1": 21, "2": 7}
    folder = boasted / "checkpoints/adapters/r"
    own = [load_adapter(find_adapters(folder, str(node))[1]).state for node in range(5)]
    expected, merged = average(own, [7, 21, 7, 12, 12]), load_adapter(find_adapters(folder)[1]).state
    assert norm({name: merged[name] - expected[name] for name in merged}) < 1e-6 * norm(merged)


def test_figures_are_told_with_and_without_it(boasted: Path) -> None:
    for line in lines(boasted, "evaluation"):
        unseen = sum(map(sum, line["confusion"]))
        assert unseen < 3 * 5 * 11 and line["mse"] < 100 and line["recordings"] < 100
        assert line["largest"] == "1" and line["accuracy"] < line["accuracy_without_largest"]
    page = (boasted / "runs/r/report.html").read_text("utf8")
    assert "without the largest node" in page and "The largest node (1) says that it has the most clips" in page
