"""Shares of unequal size: Dirichlet's, and few classes a node."""

from __future__ import annotations

from tests.support.datasets import data
from tests.support.splits import entry, names, nodes, split
from vegas_fl.config import DataConfig, NodeConfig
from vegas_fl.data.checks import check
from vegas_fl.data.datasets import open_dataset


def everyone(count: int) -> dict[str, NodeConfig]:
    return nodes(*[entry(("dog", "drum", "printer"))] * count)


def test_dirichlet_shares_are_disjoint_complete_and_leave_no_node_without_clips() -> None:
    config = data(name="toy", clips_per_class=40, partition="dirichlet", dirichlet_alpha=0.1)
    splits = [split(config, everyone(5), str(node)) for node in range(5)]
    held = [names(s.train) + names(s.val) + names(s.test) for s in splits]
    assert sorted(name for node in held for name in node) == sorted(set().union(*held))
    assert sum(map(len, held)) == 3 * 40
    assert all(any(s.train.values()) for s in splits)
    assert all(clips for s in splits for clips in s.train.values())  # a class without clips is not the node's


def test_a_small_alpha_gives_nearly_all_to_one_node_and_a_large_one_even_shares() -> None:
    largest = {}
    for alpha in (0.05, 100.0):
        config = data(name="toy", clips_per_class=100, partition="dirichlet", dirichlet_alpha=alpha)
        held = [len(split(config, everyone(4), str(node)).train.get("dog", [])) for node in range(4)]
        largest[alpha] = max(held) / sum(held)
    assert largest[0.05] > 0.7
    assert largest[100.0] < 0.35


def test_dirichlet_respects_folds_and_its_seed(folds: DataConfig) -> None:
    entries = nodes(*[entry(("dog", "rooster"))] * 3)
    config = folds.model_copy(update={"partition": "dirichlet", "dirichlet_alpha": 0.5})
    splits = [split(config, entries, str(node)) for node in range(3)]
    assert {clip.fold for s in splits for clips in s.train.values() for clip in clips} == {1, 2, 3}
    assert sum(len(names(s.test)) for s in splits) == 20
    other = split(config.model_copy(update={"split_seed": 7}), entries)
    assert names(other.train) != names(splits[0].train)
    assert names(split(config, entries).train) == names(splits[0].train)


def test_impossible_dirichlet_shares_are_one_sentence() -> None:
    config = data(name="toy", clips_per_class=1, partition="dirichlet", dirichlet_alpha=0.1)
    assert ["use fewer nodes, or a larger alpha" in mistake for mistake in check(config, everyone(5))] == [True]


def test_pathological_nodes_have_few_classes_and_classes_as_many_nodes() -> None:
    config = data(name="toy", clips_per_class=30, partition="pathological", classes_per_node=2)
    classes = open_dataset(config).classes
    entries = nodes(*[entry(classes)] * 10)
    held = {node: set(split(config, entries, node).train) for node in entries}
    assert {len(labels) for labels in held.values()} == {2}
    assert {sum(label in labels for labels in held.values()) for label in classes} == {2}
    other = config.model_copy(update={"split_seed": 1})
    assert held != {node: set(split(other, entries, node).train) for node in entries}
    assert check(config, entries) == []


def test_pathological_shares_that_leave_a_class_to_nobody() -> None:
    config = data(name="toy", clips_per_class=30, partition="pathological", classes_per_node=2)
    mistakes = check(config, nodes(*[entry(("dog", "drum", "printer"))]))
    assert len(mistakes) == 1
    assert "no node gets" in mistakes[0]


def test_pathological_shares_that_leave_a_node_without_clips() -> None:
    config = data(name="toy", clips_per_class=1, partition="pathological", classes_per_node=1)
    mistakes = check(config, nodes(*[entry(("dog", "drum"))] * 3))
    assert len(mistakes) == 1
    assert "classes of few recordings (dog: 1, drum: 1) leave node" in mistakes[0]
