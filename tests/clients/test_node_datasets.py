"""A node whose recordings come from elsewhere than the others': nodes.N.dataset, and data-root on the node."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from clients.node import Node
from tests.support.command import vegas
from tests.support.datasets import esc50
from tests.support.sounds import write
from vegas_fl.config import Config, ConfigError, compose
from vegas_fl.federation.messages import Describe

ESC = "{name: esc50, root: esc, train_folds: [1], test_folds: [2]}"
NODE = f"nodes.1={{selected_classes: [dog], samples_per_node: 4, dataset: {ESC}}}"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Recordings of dogs in two data sets."""
    for index in range(5):
        write(tmp_path / "sounds" / "dog" / f"{index}.wav", index)
    rows = [f"{fold}-{i}.wav,{fold},0,dog,True,{i},A" for fold in (1, 2) for i in range(2)]
    root = esc50(tmp_path / "esc", rows)
    for index, row in enumerate(rows):
        write(root / "audio" / row.split(",")[0], 10 + index)
    return tmp_path


def at(config: Config, node: str, **own: str) -> Node:
    """A node as a message reaches it."""
    settings = {"partition-id": int(node), **own}
    context = Context(run_id=1, node_id=2, node_config=dict(settings), state=RecordDict(), run_config={})
    return Node.of(context, Describe, {"config": config.model_dump(mode="json")}, {})[0]


def test_what_it_leaves_out_is_as_in_data() -> None:
    config = compose([NODE])
    assert config.data_of("0") == config.data
    mine = config.data_of("1")
    assert (mine.name, mine.root, mine.train_folds, mine.split_seed) == ("esc50", "esc", (1,), config.data.split_seed)
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert list(config.peers("1")) == ["1"]


def test_null_is_a_value_too() -> None:
    config = compose(["data=vggsound", "data.root=x", "nodes.0.dataset={train_folds: null, test_folds: null}"])
    assert config.data_of("0").train_folds is None
    assert config.data_of("1").train_folds == (1,)


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ("{nam: esc50}", "nodes.0.dataset.nam: unknown key; did you mean name?"),
        ("{max_seconds: -1}", "nodes.0.dataset.max_seconds"),
        ("{name: esc}", "nodes.0.dataset.name"),
        ("{root: null, split_seed: 1}", "share the class dog of one data set, but differ in split_seed"),
    ],
)
def test_mistakes_are_named(changes: str, seen: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(seen)):
        compose(["nodes.1.selected_classes=[dog]", f"nodes.0.dataset={changes}"])


FOLDS = [
    "data=esc50",
    "data.root=esc",
    "nodes.1.selected_classes=[dog]",
    "data.train_folds=[1, 2]",
    "data.test_folds=[4]",
]


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ("{test_folds: [1], train_folds: [5]}", "fold 1 is in test_folds of one and in train_folds of the other"),
        ("{train_folds: [4], test_folds: [5]}", "fold 4 is in train_folds of one and in test_folds of the other"),
        ("{train_folds: [1], split_seed: 1}", "but differ in split_seed, so"),
        ("{train_folds: [1], partition: none}", "but differ in partition, train_folds"),
        ("{train_folds: null, test_folds: null}", "but differ in test_folds, train_folds"),
    ],
)
def test_nodes_may_use_other_folds_of_one_data_set_each_for_one_part(changes: str, seen: str) -> None:
    own = compose([*FOLDS, "nodes.0.dataset={train_folds: [1]}"])
    assert own.peers("1")["0"].dataset.train_folds == (1,)  # type: ignore[union-attr]
    assert own.peers("0")["1"].dataset.train_folds == (1, 2)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=re.escape(seen)):
        compose([*FOLDS, f"nodes.0.dataset={changes}"])


def test_a_class_is_shared_out_among_those_who_read_the_same(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders)
    third = "nodes.2={selected_classes: [dog], samples_per_node: 9}"
    config = compose(["data=folder", "data.root=sounds", NODE, third])
    held = [
        sum(len(p["dog"]) for p in (n.clips.train, n.clips.val, n.clips.test)) for n in (at(config, i) for i in "012")
    ]
    assert held == [3, 4, 2]


@pytest.mark.parametrize("written", ["sounds/", "./sounds", "sounds/../sounds", "link"])
def test_one_folder_written_in_two_ways_is_shared_out(
    folders: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.chdir(folders)
    (folders / "link").symlink_to(folders / "sounds")
    second = f"nodes.1={{selected_classes: [dog], samples_per_node: 9, dataset: {{root: {written}}}}}"
    config = compose(["data=folder", "data.root=sounds", second])
    splits = [at(config, node).clips for node in "01"]
    names = [{Path(c.name).name for part in (s.train, s.val, s.test) for c in part["dog"]} for s in splits]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 5


def test_a_nodes_own_root_wins_and_changes_nobodys_share(folders: Path) -> None:
    config = compose(["data=folder", "data.root=/server/sounds", "nodes.1.selected_classes=[dog]"])
    shares = [
        at(config, node, **{"data-root": str(folders / "sounds"), "output-dir": str(folders)}).clips for node in "01"
    ]
    names = [{clip.name for part in (s.train, s.val, s.test) for clip in part["dog"]} for s in shares]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 5
    config = compose([NODE])
    assert at(config, "1", **{"data-root": "/mine", "output-dir": "/mine"}).data.root == "/mine"
    assert at(config, "0", **{"data-root": "/mine", "output-dir": "/mine"}).config.data_of("1").root == "esc"


def test_a_node_with_a_folder_of_its_own_may_keep_all_of_it(folders: Path) -> None:
    config = compose(
        ["data=folder", "data.root=/server", "data.partition=none", "nodes.1.selected_classes=[dog]"],
    )
    for node in "01":
        mine = at(config, node, **{"data-root": str(folders / "sounds"), "output-dir": str(folders)}).clips
        assert sum(len(part["dog"]) for part in (mine.train, mine.val, mine.test)) == 5


@pytest.mark.slow
def test_a_federation_of_two_data_sets(folders: Path, embedding_cache: Path) -> None:
    data = ["data=folder", "data.root=sounds", NODE]
    vegas(folders, *data, "stages=[generators]", "generator.epochs=1", f"paths.cache={embedding_cache}")
    lines = [json.loads(line) for line in (folders / "runs/demo/metrics.jsonl").read_text().splitlines()]
    assert {line["node"]: line["clips"] for line in lines if "clips" in line} == {"0": 3, "1": 1}
    # Which clips they were is kept, without a name, and a run again uses the same.
    kept = [(folders / f"runs/demo/clips/node_{node}.json").read_text() for node in "01"]
    assert [len(json.loads(text)["train"]["dog"]) for text in kept] == [3, 1]
    assert ".wav" not in "".join(kept)
    again = vegas(folders, *data, "stages=[generators]", "generator.epochs=1", f"paths.cache={embedding_cache}")
    assert "other clips" not in again.stdout + again.stderr
    (folders / "sounds" / "dog" / "3.wav").rename(folders / "sounds" / "dog" / "9.wav")
    other = vegas(folders, *data, "stages=[generators]", "generator.epochs=1", f"paths.cache={embedding_cache}")
    assert "node 0 uses other clips" in other.stdout


def test_a_missing_folder_is_told_with_its_node(folders: Path) -> None:
    done = vegas(folders, NODE.replace("root: esc", "root: gone"), code=2)
    assert "nodes.1.dataset.root=gone does not exist" in done.stderr
