"""Four hostile nodes of twenty that act together: what the honest ones hold is learnt as if they were not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from flwr.app import Context, Message

from tests.support.nodes import Nodes, lines, run
from vegas_fl.federation.messages import TRAIN_ADAPTER, TRAIN_GENERATOR, pack, unpack
from vegas_fl.runs.report.read import read
from vegas_fl.storage.tensorfiles import State, digest

CLASSES = ("dog", "drum", "snoring", "chainsaw", "helicopter")
HOSTILE = {"0", "1", "2", "3"}
SHARED = [CLASSES[node % 5] for node in range(20)]
"""Each of the hostile nodes is one of four owners of a class."""
ALONE = [CLASSES[node // 4] for node in range(20)]
"""The hostile nodes are all owners of one class."""


class Scene(NamedTuple):
    """What a hostile node knows: what it was sent and made itself, and, at worst, what all honest ones made."""

    start: State
    mine: State
    honest: list[State]


Attack = Callable[[Scene], State]


def moved(factor: float) -> Attack:
    """The update of an honest node, multiplied."""
    return lambda scene: {name: start + factor * (scene.mine[name] - start) for name, start in scene.start.items()}


def scaled(factor: float) -> Attack:
    return lambda scene: {name: factor * x for name, x in scene.mine.items()}


def mean(states: list[State]) -> State:
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def against(factor: float) -> Attack:
    """Inner product manipulation (Xie et al. 2020): the mean of the honest updates, negated."""
    return lambda scene: {n: s - factor * (mean(scene.honest)[n] - s) for n, s in scene.start.items()}


def a_little(scene: Scene) -> State:
    """A little is enough (Baruch et al. 2019): the honest mean less its standard deviation."""
    return {n: x - torch.stack([h[n] for h in scene.honest]).std(0) for n, x in mean(scene.honest).items()}


def noisy(scene: Scene) -> State:
    random = torch.Generator().manual_seed(0)
    return {
        name: x + x.std(correction=0) * torch.randn(x.shape, generator=random) * (x.numel() > 1)
        for name, x in scene.mine.items()
    }


def shuffled(scene: Scene) -> State:
    """The same function with the hidden units in another order: only a mean with it is nonsense."""
    state = {name: x.clone() for name, x in scene.mine.items()}
    order = torch.randperm(len(state["clip.mlp.0.bias"]), generator=torch.Generator().manual_seed(0))
    for branch in ("clip", "t5"):
        for name, place in (("mlp.0.weight", (order,)), ("mlp.0.bias", (order,)), ("mlp.2.weight", (..., order))):
            state[f"{branch}.{name}"] = state[f"{branch}.{name}"][place]
    return state


def biased(scene: Scene) -> State:
    """All that a limit on norms allows, in one bias."""
    state = dict(scene.mine)
    size = torch.cat([x.flatten() for x in scene.start.values() if x.is_floating_point()]).norm()
    for branch in ("clip", "t5"):
        name = f"{branch}.mlp.2.bias"
        push = torch.randn(state[name].shape, generator=torch.Generator().manual_seed(0))
        state[name] = state[name] + 5 * size * push / push.norm()
    return state


ADAPTERS: dict[str, Attack] = {
    "scaled up": scaled(9.9),
    "scaled down": scaled(0.1),
    "negated": scaled(-1.0),
    "update negated": moved(-1.0),
    "update reversed twice over": moved(-1.9),
    "update doubled": moved(1.9),
    "nothing learnt": moved(0.0),
    "noise": noisy,
    "units shuffled": shuffled,
    "bias": biased,
    "against the others": against(1.0),
    "a little is enough": a_little,
    "another node's": lambda scene: scene.honest[-1],
}
GENERATORS: dict[str, Attack] = {
    "another class's": lambda scene: scene.honest[-1],
    "wide": lambda scene: scene.mine | {"prior.factors": 20 * scene.mine["prior.factors"]},
    "all the same": lambda scene: scene.mine | {"prior.factors": 0 * scene.mine["prior.factors"]},
    "scaled": scaled(5.0),
    "shifted": lambda scene: scene.mine | {"mean": scene.mine["mean"] + 2 * scene.mine["std"]},
}


Known = dict[tuple[str, str, str], tuple[dict[str, Any], dict[str, State]]]
"""Honest answers by kind of message, node, and hash of the adapter that was sent."""


class Coalition(Nodes):
    """Honest replies are remembered, so that each attack costs the server's work only."""

    def __init__(self, known: Known, kind: str = "", attack: Attack | None = None) -> None:
        self.known, self.kind, self.attack = known, kind, attack
        super().__init__(20)

    def _answer(self, message: Message, context: Context) -> Message:
        node, kind = str(context.node_config["partition-id"]), message.metadata.message_type
        if kind not in (TRAIN_ADAPTER, TRAIN_GENERATOR):
            return super()._answer(message, context)
        sent = unpack(message.content)[1]
        key = kind, node, digest(sent["adapter"]) if "adapter" in sent else ""
        if key not in self.known:
            self.known[key] = unpack(super()._answer(message, context).content)
        values, states = self.known[key]
        if self.attack and kind == self.kind and node in HOSTILE:
            honest = [
                state
                for (of, who, start), (_, answer) in self.known.items()
                if of == kind and start == key[2] and who not in HOSTILE
                for state in answer.values()
            ]
            states = {
                name: self.attack(Scene(sent.get("adapter", {}), state, honest or [state]))
                for name, state in states.items()
            }
        return Message(pack(values, states), reply_to=message)


def result(folder: Path, cache: Path, owned: list[str], known: Known, nodes: Coalition, *more: str) -> list[float]:
    """Accuracy of both branches on the clips of the honest nodes' classes: of all, if each has an honest owner."""
    folder.mkdir()
    own = [f"nodes.{i}={{selected_classes: [{label}], samples_per_node: 12}}" for i, label in enumerate(owned)]
    few = ("data.clips_per_class=120", "generator.epochs=15", "stages=[generators,adapters]")
    run(folder, cache, nodes, folder, *own, *few, "generator.checkpoint_dir=g", *more)
    assert {line["node"] for line in lines(folder, "dropped")} <= HOSTILE
    honest = {label for node, label in enumerate(owned) if str(node) not in HOSTILE}
    result = read(folder / "runs/r")
    scores = [line["per_class"] for line in result.final[result.aggregation].values()]
    return [sum(score[label] for label in honest) / len(honest) for score in scores]


TRIED = {
    "kd, one of four owners": (["aggregation=kd"], SHARED, TRAIN_ADAPTER, ADAPTERS),
    "kd, all owners of a class": (["aggregation=kd"], ALONE, TRAIN_GENERATOR, GENERATORS),
    "fedavg, all owners of a class": (["aggregation=fedavg", "rounds=3"], ALONE, TRAIN_ADAPTER, ADAPTERS),
    "replay, one of four owners": (["aggregation=replay"], SHARED, TRAIN_GENERATOR, GENERATORS),
}


@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "owned", "kind", "attacks"), TRIED.values(), ids=TRIED)
def test_a_fifth_of_the_nodes_costs_the_others_nothing(
    embedding_cache: Path, tmp_path: Path, chosen: list[str], owned: list[str], kind: str, attacks: dict[str, Attack]
) -> None:
    known: Known = {}
    clean = result(tmp_path / "clean", embedding_cache, owned, known, Coalition(known), *chosen)
    assert min(clean) > 0.9 and not lines(tmp_path / "clean", "dropped")
    told: dict[str, list[float]] = {}
    for name, attack in attacks.items():
        nodes = Coalition(known, kind, attack)
        told[name] = result(tmp_path / name, embedding_cache, owned, known, nodes, *chosen)
    assert all(a >= 0.95 * b for found in told.values() for a, b in zip(found, clean, strict=True)), (clean, told)
