"""Who owns what: disjoint, complete, the same whoever asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.datasets import data
from tests.support.sounds import write
from tests.support.splits import entry, names, nodes, split
from vegas_fl.config import DataConfig, DatasetConfig, NodeConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.data.checks import check
from vegas_fl.data.datasets import open_dataset
from vegas_fl.data.splits import split_evenly


@pytest.mark.parametrize(
    ("total", "classes", "shares"),
    [(5, "abc", [2, 2, 1]), (4, "ab", [2, 2]), (1, "ab", [1, 0]), (200, "a", [200])],
)
def test_split_evenly(total: int, classes: str, shares: list[int]) -> None:
    assert list(split_evenly(total, list(classes)).values()) == shares


def test_ratios_are_kept_class_by_class() -> None:
    config = data(name="toy", clips_per_class=50)
    result = split(config, nodes(entry(("dog", "drum"))))
    for label in ("dog", "drum"):
        assert [len(part[label]) for part in (result.train, result.val, result.test)] == [40, 5, 5]
    everything = names(result.train) + names(result.val) + names(result.test)
    assert len(set(everything)) == len(everything) == 100


def test_the_seed_decides() -> None:
    config = data(name="toy", clips_per_class=50)
    entries = nodes(entry(("dog",)))
    first, again = split(config, entries), split(config, entries)
    other = split(config.model_copy(update={"split_seed": 7}), entries)
    assert names(first.train) == names(again.train)
    assert names(first.test) != names(other.test)


def test_a_shared_class_is_dealt_out_before_it_is_split() -> None:
    config = data(name="toy", clips_per_class=50)
    entries = nodes(entry(("dog",)), entry(("drum", "dog")), entry(("dog",)))
    shares = []
    for node in entries:
        result = split(config, entries, node)
        shares.append([clip.name for part in (result.train, result.val, result.test) for clip in part["dog"]])
        assert result.test["dog"]
    assert sorted(len(share) for share in shares) == [16, 17, 17]
    everything = [name for share in shares for name in share]
    assert len(set(everything)) == len(everything) == 50


def test_samples_per_node_caps_training_only() -> None:
    config = data(name="toy", clips_per_class=50)
    result = split(config, nodes(entry(("dog", "drum"), samples_per_node=15)))
    assert [len(clips) for clips in result.train.values()] == [8, 7]
    assert [len(clips) for clips in result.test.values()] == [5, 5]
    assert result.notes == {"dog": [], "drum": []}


def test_fewer_clips_than_asked_for_are_told() -> None:
    config = data(name="toy", clips_per_class=100)
    result = split(config, nodes(entry(("dog",), samples_per_node=200)))
    assert len(result.train["dog"]) == 80
    assert result.notes == {"dog": ["has 80 training clips, samples_per_node asks for 200: all 80 are used"]}


@pytest.mark.parametrize(("clips", "parts"), [(1, [1, 0, 0]), (2, [1, 0, 1]), (3, [1, 1, 1]), (4, [2, 1, 1])])
def test_small_classes_train_first(clips: int, parts: list[int]) -> None:
    config = data(name="toy", clips_per_class=clips)
    result = split(config, nodes(entry(("dog",), samples_per_node=1)))
    assert len(result.train["dog"]) == 1
    uncapped = split(config, nodes(entry(("dog",))))
    assert [len(part["dog"]) for part in (uncapped.train, uncapped.val, uncapped.test)] == parts
    assert any("too few clips" in note for note in result.notes["dog"]) == (0 in parts)


def test_folds_decide(folds: DataConfig) -> None:
    result = split(folds, nodes(entry(("dog",))))
    assert {clip.fold for clip in result.train["dog"]} == {1, 2, 3}
    assert {clip.fold for clip in result.test["dog"]} == {4}
    assert (len(result.train["dog"]), len(result.val["dog"]), len(result.test["dog"])) == (30, 0, 10)


def test_folds_without_a_word_on_validation_hold_some_out(folds: DataConfig) -> None:
    result = split(folds.model_copy(update={"val_folds": None}), nodes(entry(("dog",))))
    assert (len(result.train["dog"]), len(result.val["dog"]), len(result.test["dog"])) == (27, 3, 10)
    assert {clip.fold for clip in result.val["dog"]} <= {1, 2, 3}


def test_a_capped_node_trains_on_all_its_folds(folds: DataConfig) -> None:
    result = split(folds, nodes(entry(("dog",), samples_per_node=12)))
    assert len(result.train["dog"]) == 12
    assert {clip.fold for clip in result.train["dog"]} == {1, 2, 3}


def test_a_shared_class_is_dealt_out_within_each_fold(folds: DataConfig) -> None:
    entries = nodes(entry(("dog",)), entry(("dog",)))
    parts = [split(folds, entries, node) for node in entries]
    assert [len(part.train["dog"]) for part in parts] == [15, 15]
    assert [len(part.test["dog"]) for part in parts] == [5, 5]
    assert not set(names(parts[0].train)) & set(names(parts[1].train))


def test_small_folds_leave_no_owner_without_clips(folds: DataConfig) -> None:
    """Ten clips a fold among twelve nodes: what one fold does not reach, the next one does."""
    entries = nodes(*[entry(("dog",))] * 12)
    assert check(folds, entries) == []
    parts = [split(folds, entries, node) for node in entries]
    assert sorted(len(part.train["dog"]) for part in parts) == [2] * 6 + [3] * 6
    dealt = [name for part in parts for name in (*names(part.train), *names(part.test))]
    assert len(dealt) == len(set(dealt)) == 40


def test_each_fold_is_dealt_among_the_owners_that_use_it(folds: DataConfig) -> None:
    """Two owners train on folds 1 and 2, two others on 3; all test on 4."""
    own = [(1, 2), (1, 2), (3,), (3,)]
    entries = {
        str(index): NodeConfig(
            selected_classes=("dog",), samples_per_node=99, dataset=DatasetConfig(train_folds=trained)
        )
        for index, trained in enumerate(own)
    }
    settings = [entries[node].dataset.over(folds) for node in entries]  # type: ignore[union-attr]
    assert [check(settings[int(node)], entries, [node]) for node in entries] == [[]] * 4
    parts = [split(settings[int(node)], entries, node) for node in entries]
    assert [len(part.train["dog"]) for part in parts] == [10, 10, 5, 5]
    assert sorted(len(part.test["dog"]) for part in parts) == [2, 2, 3, 3]
    dealt = [name for part in parts for name in (*names(part.train), *names(part.test))]
    assert len(dealt) == len(set(dealt)) == 40


def test_owners_beyond_the_clips_of_their_own_folds_are_named(folds: DataConfig) -> None:
    entries = nodes(*[entry(("dog",))] * 4)
    entries = {
        node: one.model_copy(update={"dataset": DatasetConfig(train_folds=(1,))}) for node, one in entries.items()
    }
    own = NodeConfig(selected_classes=("dog",), samples_per_node=9, dataset=DatasetConfig(train_folds=(3,)))
    entries |= {str(index): own for index in range(4, 15)}
    found = check(own.dataset.over(folds), entries, [*entries][4:])  # type: ignore[union-attr]
    assert found == [
        "class dog has 10 recordings to train on, too few for 11 nodes (4, 5, 6, 7, 8 and 6 more): none is left for "
        "node 14; select it on fewer nodes"
    ]


def test_the_order_of_the_nodes_and_of_their_classes_changes_nothing() -> None:
    config = data(name="toy", clips_per_class=20)
    entries = nodes(entry(("dog", "drum")), entry(("drum", "dog")))
    turned = dict(reversed(entries.items()))
    assert split(config, entries, "1") == split(config, turned, "1")


def test_a_class_that_does_not_exist() -> None:
    config = data(name="toy")
    with pytest.raises(VegasError) as error:
        split(config, nodes(entry(("dogg",))))
    assert "did you mean dog?" in str(error.value)
    assert "chainsaw" in str(error.value)


def test_a_node_needs_only_its_own_classes(tmp_path: Path) -> None:
    """On a machine of its own a node has no recordings of the others' classes."""
    for index in range(5):
        write(tmp_path / "dog" / f"{index}.wav")
    config = data(root=str(tmp_path))
    entries = nodes(entry(("dog",)), entry(("cat",)))
    assert split(config, entries, "0").train["dog"]
    assert any("cat" in mistake for mistake in check(config, entries))


@pytest.mark.parametrize(
    "changes",
    [{}, {"partition": "dirichlet", "dirichlet_alpha": 0.3}, {"partition": "pathological", "classes_per_node": 2}],
)
@pytest.mark.parametrize("by_folds", [False, True])
def test_every_clip_belongs_to_one_node_and_one_part(
    folds: DataConfig, changes: dict[str, Any], by_folds: bool
) -> None:
    """Disjoint and complete, however it is dealt out."""
    classes = ("dog", "rooster")
    config = folds if by_folds else data(name="toy", clips_per_class=40)
    config = config.model_copy(update=changes)
    entries = nodes(*[entry(classes if by_folds else ("dog", "drum", "chainsaw"))] * 4)
    given = [split(config, entries, node) for node in entries]
    held = [clip for result in given for part in (result.train, result.val, result.test) for clip in names(part)]
    dataset = open_dataset(config)
    everything = [clip.name for label in entries["0"].selected_classes for clip in dataset.clips(label)]
    assert sorted(held) == sorted(everything)
    assert all(result.train for result in given)


def cut_from_videos(root: Path, clips: int, of_each: int) -> DataConfig:
    """VEGAS with ``clips`` dogs, ``of_each`` of them cut from one video."""
    for index in range(clips):
        path = root / "dog" / "audios" / f"video_{index:05d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    rows = [f"video{index // of_each},0,10" for index in range(clips)]
    (root / "dog" / "video_info.csv").write_text("\n".join(["YTID,start_second,end_second", *rows]) + "\n")
    return data(name="vegas", root=str(root))


@pytest.mark.parametrize("changes", [{}, {"partition": "dirichlet", "dirichlet_alpha": 1.0}])
@pytest.mark.parametrize("count", [1, 3])
def test_clips_of_one_video_stay_together(tmp_path: Path, changes: dict[str, Any], count: int) -> None:
    config = cut_from_videos(tmp_path, 60, 3).model_copy(update=changes)
    entries = nodes(*[entry(("dog",))] * count)
    places: dict[str | None, set[tuple[str, str]]] = {}
    held = []
    for node in entries:
        result = split(config, entries, node)
        assert all(part.get("dog") for part in (result.train, result.val, result.test))
        for part in ("train", "val", "test"):
            for clip in getattr(result, part)["dog"]:
                places.setdefault(clip.source, set()).add((node, part))
                held.append(clip.name)
    assert len(places) == 20 and {len(where) for where in places.values()} == {1}
    assert len(set(held)) == len(held) == 60


def test_clips_of_a_single_video_all_train_and_that_is_told(tmp_path: Path) -> None:
    result = split(cut_from_videos(tmp_path, 10, 10), nodes(entry(("dog",), samples_per_node=5)))
    assert [len(part["dog"]) for part in (result.train, result.val, result.test)] == [5, 0, 0]
    assert "has too few clips (10, cut from 1 recording) for a test part" in result.notes["dog"]


def test_nodes_with_folders_of_their_own_keep_all_their_clips(tmp_path: Path) -> None:
    config = cut_from_videos(tmp_path, 10, 1).model_copy(update={"partition": "none"})
    entries = nodes(entry(("dog",)), entry(("dog",)))
    for node in entries:
        result = split(config, entries, node)
        assert len(names(result.train) + names(result.val) + names(result.test)) == 10
    # In one folder they would overlap.
    [mistake] = check(config, entries)
    assert mistake.startswith("nodes 0, 1 overlap: with data.partition=none each would use all clips of dog")


def test_a_manifest_proves_the_same_clips() -> None:
    config = data(name="toy", clips_per_class=20)
    entries = nodes(entry(("dog",)))
    first, again = (split(config, entries).manifest(b"secret") for _ in range(2))
    other = split(config.model_copy(update={"split_seed": 7}), entries).manifest(b"secret")
    assert first == again != other
    assert [len(first[part]["dog"]) for part in ("train", "val", "test")] == [16, 2, 2]
