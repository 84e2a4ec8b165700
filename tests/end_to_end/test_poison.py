"""One hostile node of five that owns a class alone: the other classes are learnt as if it were not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.nodes import Nodes, lines, run
from vegas_fl.federation.messages import TRAIN_ADAPTER, TRAIN_GENERATOR
from vegas_fl.runs.report.read import read
from vegas_fl.storage.generators import load_class_generator
from vegas_fl.storage.tensorfiles import State

CLASSES = ("dog", "drum", "snoring", "chainsaw", "helicopter")
NODES = [f"nodes.{i}={{selected_classes: [{label}], samples_per_node: 12}}" for i, label in enumerate(CLASSES)]
SMALL = [*NODES, "stages=[generators,adapters]", "generator.checkpoint_dir=g"]


def scaled(factor: float) -> Callable[[State], State]:
    return lambda state: {name: factor * tensor for name, tensor in state.items()}


def shuffled(state: State) -> State:
    """The same function, with the hidden units in another order: only an average with it is nonsense."""
    order = torch.randperm(len(state["clip.mlp.0.bias"]), generator=torch.Generator().manual_seed(0))
    for branch in ("clip", "t5"):
        for name, place in (("mlp.0.weight", (order,)), ("mlp.0.bias", (order,)), ("mlp.2.weight", (..., order))):
            state[f"{branch}.{name}"] = state[f"{branch}.{name}"][place]
    return state


def noisy(state: State) -> State:
    random = torch.Generator().manual_seed(0)
    return {
        name: x + x.std(correction=0) * torch.randn(x.shape, generator=random) * (x.numel() > 1)
        for name, x in state.items()
    }


def wide(state: State) -> State:
    return state | {"prior.factors": 20 * state["prior.factors"]}


def others_recall(folder: Path) -> float:
    """Mean recall of the classes of the other four nodes: the worse branch."""
    result = read(folder / "runs/r")
    scores = [line["per_class"] for line in result.final[result.aggregation].values()]
    return min(sum(score[label] for label in CLASSES[1:]) / 4 for score in scores)


ATTACKS = [
    (TRAIN_ADAPTER, scaled(9.9), "the error of its clip branch", ()),
    (TRAIN_ADAPTER, scaled(-1.0), "the error of its t5 branch", ()),
    (TRAIN_ADAPTER, noisy, "", ()),  # harmless to the others, whether it is dropped or not
    (TRAIN_ADAPTER, scaled(9.9), "the error of its clip branch", ("aggregation=fedavg",)),
    (TRAIN_ADAPTER, shuffled, "its weights moved by", ("aggregation=fedavg",)),
    (TRAIN_GENERATOR, wide, "more than 2 times the usual", ()),
    (TRAIN_GENERATOR, scaled(5.0), "more than 2 times the usual", ("aggregation=replay",)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "poison", "reason", "more"), ATTACKS)
def test_a_poisoned_reply_costs_its_node_alone(
    embedding_cache: Path, tmp_path: Path, kind: str, poison: Callable[[State], State], reason: str, more: list[str]
) -> None:
    for folder in (tmp_path / "clean", tmp_path / "poisoned"):
        folder.mkdir()
        nodes = Nodes(5)
        if folder.name == "poisoned":
            nodes.twists["0", kind] = poison
        run(folder, embedding_cache, nodes, folder, *SMALL, *more)
    assert not lines(tmp_path / "clean", "dropped")
    dropped = lines(tmp_path / "poisoned", "dropped")
    assert len(dropped) == 1 or not reason
    assert all(line["node"] == "0" and line["message"] == kind and reason in line["reason"] for line in dropped)
    assert others_recall(tmp_path / "poisoned") >= 0.95 * others_recall(tmp_path / "clean")


def test_a_generator_that_gives_another_class_is_dropped(embedding_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    few = ("stages=[generators]", "generator.epochs=10")
    run(tmp_path, embedding_cache, Nodes(5), tmp_path / "clean", *SMALL, *few)
    assert not lines(tmp_path / "clean", "dropped")
    drum = load_class_generator(tmp_path / "clean/g/vae_perclass_round_1_drum.safetensors").of("1").state_dict()
    nodes = Nodes(5)
    nodes.twists["0", TRAIN_GENERATOR] = lambda state: drum
    run(tmp_path, embedding_cache, nodes, tmp_path, *SMALL, *few)
    (dropped,) = lines(tmp_path, "dropped")
    assert dropped["node"] == "0" and "lie among those of drum" in dropped["reason"]


def owning(*classes: list[str]) -> list[str]:
    return [
        f"nodes.{i}={{selected_classes: [{', '.join(own)}], samples_per_node: 24}}" for i, own in enumerate(classes)
    ]


HONEST = {
    "a class each": owning(*([label] for label in CLASSES)),
    "two classes each": owning(*([label, CLASSES[(i + 1) % 5]] for i, label in enumerate(CLASSES))),
    "Dirichlet": [
        *owning(*([list(CLASSES)] * 5)),
        *("data.partition=dirichlet", "data.dirichlet_alpha=0.1", "data.clips_per_class=60"),
    ],
}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("layout", HONEST.values(), ids=HONEST)
def test_in_a_hundred_rounds_nobody_honest_is_dropped(embedding_cache: Path, tmp_path: Path, layout: list[str]) -> None:
    few = ("rounds=34", "evaluation.split=none", "aggregation.epochs=2", "stages=[generators,adapters]")
    run(tmp_path, embedding_cache, Nodes(5), tmp_path, *layout, *few, "generator.checkpoint_dir=g")
    assert len({line["round"] for line in lines(tmp_path, "adapters") if "training" in line}) == 34
    assert not lines(tmp_path, "dropped")
