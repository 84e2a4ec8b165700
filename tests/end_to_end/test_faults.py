"""Nodes that lie, fail, vanish and come back, in whole runs: what is told, and what the result is worth."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from tests.support.command import vegas
from tests.support.nodes import COMMON, Nodes, Twist, lines, run
from tests.support.once import Once
from vegas_fl.core.errors import VegasError
from vegas_fl.federation.messages import DESCRIBE, TRAIN_ADAPTER, TRAIN_GENERATOR
from vegas_fl.runs.progress import sealed
from vegas_fl.runs.report.read import read
from vegas_fl.storage.tensorfiles import State


@pytest.fixture(scope="module")
def generators(once: Once, embedding_cache: Path) -> Path:
    words = [*COMMON, f"paths.cache={embedding_cache}", "run=clean", "stages=[generators]"]
    return once.copy("faults", lambda folder: vegas(folder, *words))


def accuracy(folder: Path) -> float:
    """The worse branch, last round."""
    run = read(folder / "runs/r")
    return min(line["accuracy"] for line in run.final[run.aggregation].values())


def flipped(state: State) -> State:
    return {name: -tensor for name, tensor in state.items()}


def scaled(state: State) -> State:
    return {name: 100 * tensor for name, tensor in state.items()}


def random(state: State) -> State:
    torch.manual_seed(0)
    return {name: tensor.std(correction=0) * torch.randn(tensor.shape) for name, tensor in state.items()}


def not_finite(state: State) -> State:
    return {name: tensor / 0 for name, tensor in state.items()}


@pytest.fixture(scope="module")
def clean(generators: Path, embedding_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    folder = tmp_path_factory.mktemp("clean")
    run(generators, embedding_cache, Nodes(5), folder)
    return accuracy(folder)


@pytest.mark.parametrize("poison", [scaled, *(pytest.param(p, marks=pytest.mark.slow) for p in (flipped, random))])
def test_one_poisoned_owner_of_three_does_not_hurt(
    generators: Path, embedding_cache: Path, tmp_path: Path, clean: float, poison: Twist
) -> None:
    nodes = Nodes(5)
    nodes.twists["1", TRAIN_ADAPTER] = poison
    run(
        generators,
        embedding_cache,
        nodes,
        tmp_path,
        "aggregation.teachers=median",
        "federation.max_norm=1e9",
        "federation.min_nodes=4",
    )
    assert clean > 0.9
    assert accuracy(tmp_path) >= 0.95 * clean


@pytest.mark.parametrize(
    ("poison", "reason"),
    [pytest.param(scaled, "more than 10 times", marks=pytest.mark.slow), (not_finite, "not finite")],
)
def test_absurd_weights_are_dropped_and_told(
    generators: Path, embedding_cache: Path, tmp_path: Path, clean: float, poison: Twist, reason: str
) -> None:
    nodes = Nodes(5)
    nodes.twists["1", TRAIN_ADAPTER] = poison
    run(generators, embedding_cache, nodes, tmp_path, "federation.min_nodes=4")
    (dropped,) = lines(tmp_path, "dropped")
    assert (dropped["node"], dropped["round"]) == ("1", 1) and reason in dropped["reason"]
    assert accuracy(tmp_path) >= 0.95 * clean


def test_an_absurd_generator_is_dropped(embedding_cache: Path, tmp_path: Path) -> None:
    nodes = Nodes(5)
    nodes.twists["1", TRAIN_GENERATOR] = scaled
    few = ("stages=[generators]", "federation.min_nodes=4", "generator.epochs=1")
    run(tmp_path, embedding_cache, nodes, tmp_path, *few)
    (dropped,) = lines(tmp_path, "dropped")
    assert dropped["node"] == "1" and dropped["message"] == TRAIN_GENERATOR and "norm" in dropped["reason"]


@pytest.mark.slow
def test_nodes_that_fail_vanish_and_return_take_part_again(
    generators: Path, embedding_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    nodes, trained = Nodes(5), []

    class AfterEachRound(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("round "):
                trained.append("".join(sorted(node for node, kind in nodes.asked if kind == TRAIN_ADAPTER)))
                nodes.asked.clear()
                nodes.crashes = {("0", TRAIN_ADAPTER)} if len(trained) == 1 else set()
                nodes.gone |= {"3"} if len(trained) == 2 else set()
                if len(trained) == 3:
                    nodes.restart("3")

    logging.getLogger("vegas_fl.server").addHandler(handler := AfterEachRound())
    try:
        run(generators, embedding_cache, nodes, tmp_path, "rounds=4", "federation.min_nodes=3")
    finally:
        logging.getLogger("vegas_fl.server").removeHandler(handler)
    assert trained == ["01234", "01234", "0124", "01234"]
    dropped = [(line["node"], line["round"], line["message"], line["reason"]) for line in lines(tmp_path, "dropped")]
    assert dropped == [("0", 2, TRAIN_ADAPTER, "failed: RuntimeError: boom")]
    assert "continuing without nodes 3, which have disconnected" in caplog.text
    assert "node 3 takes part again" in caplog.text


@pytest.mark.slow
def test_who_joins_late_and_hears_otherwise_is_left_out(
    generators: Path, embedding_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another encoder's embeddings would spoil what all others agree on."""
    nodes = Nodes(5)
    nodes.gone = {"4"}

    class AfterTheFirstRound(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("round 1"):
                nodes.odd = {"4"}
                nodes.restart("4")

    logging.getLogger("vegas_fl.server").addHandler(handler := AfterTheFirstRound())
    try:
        few = ("rounds=2", "federation.min_nodes=4", "federation.wait=0.3")
        run(generators, embedding_cache, nodes, tmp_path, *few)
    finally:
        logging.getLogger("vegas_fl.server").removeHandler(handler)
    assert "starting without nodes 4, which have not registered" in caplog.text
    assert "node 4 embeds audio differently from the others" in caplog.text
    assert ("4", TRAIN_ADAPTER) not in nodes.asked


@pytest.mark.slow
def test_a_class_whose_only_owner_is_lost_keeps_its_teacher(
    generators: Path, embedding_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = Nodes(5)
    quorum = "federation.min_nodes=4"
    run(generators, embedding_cache, nodes, tmp_path, "rounds=1", quorum)
    path = tmp_path / "runs/r/state.json"  # as if the run had been stopped after one round of two
    state = json.loads(path.read_text("utf8"))
    path.write_bytes(sealed(state | {"complete": False, "settings": state["settings"] | {"rounds": 2}}))
    nodes.crashes = {("3", TRAIN_ADAPTER)}
    config = run(generators, embedding_cache, nodes, tmp_path, "rounds=2", quorum)
    assert "drum: taught by the adapter that node 3 sent in an earlier round" in caplog.text
    drum = config.classes.index("drum")
    for line in lines(tmp_path, "evaluation"):
        if line["adapter"] == "kd" and line["round"] == 2:
            assert line["confusion"][drum][drum] == sum(line["confusion"][drum]) > 0


def test_below_the_quorum_the_run_stops_and_goes_on_when_the_nodes_are_back(
    generators: Path, embedding_cache: Path, tmp_path: Path
) -> None:
    nodes = Nodes(5)
    nodes.crashes = {("3", DESCRIBE), ("4", DESCRIBE)}
    few = ("rounds=1", "federation.min_nodes=4", "federation.wait=0.3")
    with pytest.raises(VegasError, match="cannot start") as stop:
        run(generators, embedding_cache, nodes, tmp_path, *few)
    assert "boom" in str(stop.value)
    nodes.crashes = set()
    run(generators, embedding_cache, nodes, tmp_path, *few)
    assert lines(tmp_path, "end")[-1].get("problem") is None


def test_a_class_whose_only_owner_is_gone_keeps_its_generator(embedding_cache: Path, tmp_path: Path) -> None:
    small = ("stages=[generators]", "generator.epochs=1", "federation.min_nodes=4", "federation.wait=0.3")
    run(tmp_path, embedding_cache, Nodes(5), tmp_path, *small, "generator.checkpoint_dir=g")
    before = (tmp_path / "g/vae_perclass_round_1_drum.safetensors").read_bytes()
    nodes = Nodes(5)
    nodes.gone = {"3"}
    run(tmp_path, embedding_cache, nodes, tmp_path, *small, "generator.checkpoint_dir=g", "seed=1")
    assert (tmp_path / "g/vae_perclass_round_1_drum.safetensors").read_bytes() == before
    assert (tmp_path / "g/previous/vae_perclass_round_1_dog.safetensors").exists()
