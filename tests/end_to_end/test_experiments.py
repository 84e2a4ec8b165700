"""The replaced system's experiments: all there by name, composed, and sound as soon as their data are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import vegas
from tests.support.datasets import esc50
from tests.support.project import EXPERIMENTS, ROOT, experiment
from vegas_fl.config import compose
from vegas_fl.runs import preflight

FEDERATIONS = {
    "a2v_vegas_2n_2c_200s": (2, 2, 200),
    "a2v_vegas_2n_2c_400s": (2, 2, 400),
    "a2v_vegas_3n_3c_400s": (3, 3, 400),
    "a2v_vegas_10n_10c_400s": (10, 10, 400),
    "a2v_vegas_20n_10c_200s": (20, 10, 200),
    "a2v_esc50_5n_50c": (5, 50, 240),
    "a2v_esc50_50n_50c": (50, 50, 24),
    "a2v_esc50_vegas_20n": (20, 17, 24),
}
STAGES = {step: "adapters" for step in ("train_adapters", "kd", "avg", "sa")} | {
    "train_generator": "generators",
    "generate": "images",
}
AGGREGATIONS = {step: "fedavg" for step in ("train_adapters", "avg")} | {"sa": "standalone"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that name the data sets' folders: right names, empty recordings, which no check reads."""
    root = tmp_path_factory.mktemp("data")
    vegas = compose(["experiment=a2v_vegas_10n_10c_400s"]).classes
    for label in vegas:
        (root / "VEGAS" / label / "audios").mkdir(parents=True)
        for index in range(20):
            (root / "VEGAS" / label / "audios" / f"video_{index:05d}.wav").touch()
    classes = sorted({*compose(["experiment=a2v_esc50_5n_50c"]).classes, "rooster"})
    rows = [f"{fold}-{c}.wav,{fold},0,{c},True,1,A" for fold in range(1, 6) for c in classes]
    esc = esc50(root / "ESC-50", rows)
    for row in rows:
        (esc / "audio" / row.split(",")[0]).touch()
    return [str(root / "VEGAS"), str(esc)]


@pytest.mark.parametrize("name", FEDERATIONS)
def test_a_federation_has_its_nodes_classes_and_samples(name: str) -> None:
    config = experiment(name)
    nodes, classes, samples = FEDERATIONS[name]
    assert (len(config.nodes), len(config.classes)) == (nodes, classes)
    assert {entry.samples_per_node for entry in config.nodes.values()} == {samples}
    assert config.run == config.series
    fewer = compose([f"experiment={name}", "samples_per_node=80", "nodes.0.samples_per_node=75"])
    assert [fewer.nodes[i].samples_per_node for i in "01"] == [75, 80]


@pytest.mark.slow
@pytest.mark.parametrize("name", FEDERATIONS)
@pytest.mark.parametrize("step", STAGES)
def test_a_step_finds_what_the_steps_before_it_left(name: str, step: str) -> None:
    assert f"{name}_{step}" in EXPERIMENTS
    config = experiment(f"{name}_{step}")
    series = name.removeprefix("a2v_").replace("_", "-")
    assert config.stages == (STAGES[step],)
    assert config.aggregation.name == AGGREGATIONS.get(step, "kd")
    assert config.series == series
    assert config.run == (series if step.startswith("train") else f"{series}-{step}")
    assert config.generator.checkpoint_dir == f"checkpoints/generators/{series}"
    adapters = f"checkpoints/adapters/{series}"
    assert config.adapter.local_checkpoint_dir == (adapters if step == "kd" else None)
    assert config.adapter.checkpoint_dir == (adapters if step == "generate" else f"checkpoints/adapters/{config.run}")


@pytest.mark.parametrize("name", FEDERATIONS)
def test_without_its_data_it_says_which_folder_it_needs(name: str) -> None:
    mistakes = preflight.check(experiment(name), nodes_are_here=True)
    needed = {"esc50": "meta/esc50.csv", "vegas": "<class>/audios"}
    wanted = [] if name == "a2v_vegas_2n_2c_200s" else [kind for kind in needed if kind in name]
    assert len(mistakes) == len(wanted)
    for kind in wanted:
        assert any(".root is not set" in m and needed[kind] in m for m in mistakes)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_plan_needs_no_data(name: str) -> None:
    """Nothing is wrong but what can still be brought, and that is told."""
    config = experiment(name)
    assert config.run
    assert preflight.check(config, nodes_are_here=True, may_lack=True) == []
    told = preflight.lacking(config, nodes_are_here=True)
    assert told == preflight.check(config, nodes_are_here=True)


def test_the_plan_names_the_folder_it_would_need(tmp_path: Path) -> None:
    shown = vegas(tmp_path, "plan", "--no-timing", "experiment=a2v_vegas_10n_10c_400s_train_generator").stdout
    assert "10 nodes, 10 classes" in shown and "still needed: data.root is not set" in shown
    shown = vegas(tmp_path, "plan", "--no-timing", "experiment=a2v_vegas_2n_2c_200s_generate").stdout
    assert "still needed: Checkpoint not found: no generator in" in shown and "200 of dog" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FEDERATIONS)
def test_with_its_data_it_is_sound(name: str, folders: list[str]) -> None:
    vegas, esc = folders
    roots = [f"data.root={esc if name.startswith('a2v_esc50_5') else vegas}"]
    roots += ["data=vegas"] if "_2n_2c_200s" in name else []  # synthetic recordings otherwise
    roots += [f"nodes.0.dataset.root={esc}"] if name == "a2v_esc50_vegas_20n" else []
    assert preflight.check(compose([f"experiment={name}", *roots]), nodes_are_here=True) == []


def test_no_value_of_a_step_is_written_twice() -> None:
    folder = ROOT / "conf" / "experiment"
    for path in folder.glob("a2v_*"):
        lines = [line for line in path.read_text("utf8").splitlines() if line and not line.startswith("#")]
        if any(path.stem.endswith(f"_{step}") for step in STAGES):
            assert lines == ["defaults:", f"  - {path.stem.removesuffix(lines[2].split()[-1])[:-1]}", lines[2]]
