"""The aggregations through the command line, on few clips of three classes: who beats whom, and what is saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from strategies import server_app
from tests.support.command import vegas
from tests.support.nodes import Nodes
from tests.support.once import Once
from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError

pytestmark = pytest.mark.slow

NODES = [
    f"nodes.{i}={{selected_classes: [{c}], samples_per_node: 16}}" for i, c in enumerate(("dog", "drum", "snoring"))
]
DATA = ["data.clips_per_class=24", "data.train_ratio=0.6", "data.test_ratio=0.3"]
MIN = "federation.min_nodes=2"
EPOCHS = "generator.epochs=40"
STUDENT = ["aggregation.epochs=8", "aggregation.samples_per_class=100", "evaluation.generators=false"]


@pytest.fixture(scope="module")
def trained(once: Once, embedding_cache: Path) -> Path:
    """Local adapters and both kinds of generators."""
    common = [*NODES, *DATA, f"paths.cache={embedding_cache}"]

    def fill(folder: Path) -> None:
        vegas(folder, *common, EPOCHS, "run=vae", "stages=[generators]")
        vegas(folder, *common, "generator=gmm", "run=gmm", "stages=[generators]")
        vegas(folder, *common, "run=local", "stages=[adapters]", "aggregation=standalone")

    return once.copy("aggregations", fill)


def worst(folder: Path, run: str, figure: str = "accuracy") -> dict[str, float]:
    """The worse of both branches by adapter, last round."""
    lines = map(json.loads, (folder / "runs" / run / "metrics.jsonl").read_text("utf8").splitlines())
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        if line["stage"] == "evaluation":
            found.setdefault(line["adapter"], {})[line["branch"]] = line[figure]
    choose = min if figure == "accuracy" else max
    return {adapter: choose(branches.values()) for adapter, branches in found.items()}


@pytest.mark.parametrize("generator", ["vae", "gmm"])
@pytest.mark.parametrize(
    ("overrides", "works"),
    [
        (["aggregation=kd"], True),
        (["aggregation=replay"], True),
        (["aggregation=kd", "aggregation.teachers=all"], False),
    ],
)
def test_only_owners_and_text_targets_teach(
    trained: Path, embedding_cache: Path, generator: str, overrides: list[str], works: bool
) -> None:
    vegas(
        trained,
        *(
            *NODES,
            *DATA,
            *STUDENT,
            *overrides,
            f"paths.cache={embedding_cache}",
            "run=merged",
            "stages=[adapters]",
        ),
        *(f"generator={generator}", f"generator.checkpoint_dir=checkpoints/generators/{generator}"),
        "adapter.local_checkpoint_dir=checkpoints/adapters/local",
    )
    name = overrides[0].partition("=")[2]
    assert worst(trained, "merged")["local"] < 0.5
    if works:
        assert worst(trained, "merged")[name] > 0.9
    # In units of how far the targets lie apart: what nodes say of a class they never heard pulls all to one point.
    error = worst(trained, "merged", "mse")[name]
    assert error < 0.3 if works else error > 0.5
    assert (trained / "checkpoints/adapters/merged/merged_round_1_clip.safetensors").exists()


def test_a_node_that_replays_the_shared_generators_knows_all_classes(trained: Path, embedding_cache: Path) -> None:
    local = {}
    for samples in (0, 16):
        run = f"replay-{samples}"
        vegas(
            trained,
            *(*NODES, *DATA, *STUDENT, "aggregation=kd", f"run={run}", "stages=[adapters]"),
            *("generator.checkpoint_dir=checkpoints/generators/vae", f"adapter.replay_samples={samples}"),
            f"paths.cache={embedding_cache}",
        )
        scores = worst(trained, run)
        assert scores["kd"] > 0.9
        local[samples] = scores["local"]
    assert local[0] < 0.5
    assert local[16] > 0.9


def test_replay_on_nodes_needs_generators(tmp_path: Path, embedding_cache: Path) -> None:
    done = vegas(
        tmp_path,
        *("aggregation=fedavg", "stages=[adapters]", "adapter.replay_samples=4", f"paths.cache={embedding_cache}"),
        code=2,
    )
    assert "no generator in checkpoints/generators/demo" in done.stderr


def test_nodes_may_hold_dirichlet_shares(tmp_path: Path, embedding_cache: Path) -> None:
    everyone = [f"nodes.{i}={{selected_classes: [dog, drum, snoring], samples_per_node: 99}}" for i in range(3)]
    vegas(
        tmp_path,
        *(*everyone, *DATA, EPOCHS, *STUDENT, "data.partition=dirichlet", "data.dirichlet_alpha=0.2", "run=skewed"),
        *("stages=[generators,adapters]", f"paths.cache={embedding_cache}"),
    )
    assert worst(tmp_path, "skewed")["kd"] > 0.9


CLOSED = ["aggregation=analytic", "adapter=linear", "stages=[adapters]", "evaluation.compare=[]"]


def test_the_closed_form_adapter_is_made_of_sums(trained: Path, embedding_cache: Path) -> None:
    """Whatever the split: a node per class and one node for all give the same adapter, and so do masked sums, in
    process and over Flower."""
    every = "nodes.0={selected_classes: [dog, drum, snoring], samples_per_node: 48}"
    runs = {
        "apart": NODES,
        "plain": [*NODES, "aggregation.secure_sum=false"],
        "flower": [*NODES, "engine=flower"],
        "together": [every, "~nodes.1"],
    }
    for run, nodes in runs.items():
        vegas(trained, *nodes, *DATA, *CLOSED, f"run={run}", f"paths.cache={embedding_cache}")
    assert worst(trained, "apart")["analytic"] > 0.9
    readouts = {
        run: load_file(trained / f"checkpoints/adapters/{run}/{run}_round_1_t5.safetensors")["readout"] for run in runs
    }
    assert all((readouts["apart"] - other).abs().max() < 1e-6 for other in readouts.values())
    assert torch.equal(readouts["apart"], readouts["flower"])


def test_a_secure_sum_without_one_of_its_nodes_is_asked_for_again(tmp_path: Path, embedding_cache: Path) -> None:
    nodes = Nodes(3)
    paths = [f"paths.{key}={tmp_path / key}" for key in ("checkpoints", "runs")]
    config = compose([*NODES, *DATA, *CLOSED, *paths, "run=r", f"paths.cache={embedding_cache}", MIN])
    nodes.crashes.add(("1", "train.sums"))
    with pytest.raises(VegasError, match="without those of nodes 1 the masks of the others do not cancel"):
        server_app.run(nodes, config)
    nodes.crashes = {("1", "query.sums")}  # not there from the start: a sum over the others
    server_app.run(nodes, config)
    nodes.crashes.clear()
    assert worst(tmp_path, "r")["analytic"] > 0.6


@pytest.mark.parametrize("granularity", ["group", "all"])
def test_classes_may_share_a_generator(trained: Path, embedding_cache: Path, tmp_path: Path, granularity: str) -> None:
    nodes = [
        "nodes.0={selected_classes: [dog, drum], samples_per_node: 32}",
        "nodes.1={selected_classes: [snoring, printer], samples_per_node: 32, generator: {train_classes: [snoring]}}",
    ]
    common = [
        *nodes,
        *DATA,
        f"paths.cache={embedding_cache}",
        EPOCHS,
        *STUDENT,
        "run=r",
        "stages=[generators,adapters]",
    ]
    groups = "generator.groups={animals: [dog, drum]}"
    vegas(tmp_path, *common, f"generator.granularity={granularity}", *([groups] if granularity == "group" else []))
    files = sorted((tmp_path / "checkpoints/generators/r").glob("*.safetensors"))
    assert [file.stem.rpartition("_")[2] for file in files] == ["dog", "drum", "snoring"]  # printer is not trained
    last = [load_file(file) for file in files]
    weights = [next(value for key, value in state.items() if key.endswith("decoder.2.weight")) for state in last]
    assert weights[0].equal(weights[1])
    assert weights[0].equal(weights[2]) == (granularity == "all")
