"""Which adapters and generators cannot be an honest node's."""

from __future__ import annotations

import torch
from torch import Tensor

from vegas_fl.algorithm.trust import capped, excessive_moves, judge_generators


def points(centre: float, spread: float = 1.0, seed: int = 0) -> Tensor:
    return spread * torch.randn(24, 16, generator=torch.Generator().manual_seed(seed)) + centre


def unheard(first: str, second: str, x: Tensor) -> None:
    return None


def by_place(first: str, second: str, x: Tensor) -> float:
    """Labels that know where dogs and drums are."""
    places = {"dog": 0.0, "drum": 10.0}
    return float((x.mean() - places[second]).abs() - (x.mean() - places[first]).abs())


def test_honest_generators_pass_also_those_of_a_single_clip() -> None:
    honest = {("0", "dog"): points(0), ("1", "drum"): points(10), ("2", "dog"): points(0.2, 0.01)}
    assert judge_generators(honest, unheard) == ({}, [])


def test_labels_decide_which_of_two_generators_lies() -> None:
    sent = {("0", "dog"): points(10, seed=1), ("1", "drum"): points(10)}
    rejected, told = judge_generators(sent, by_place)
    assert list(rejected) == [("0", "dog")] and not told


def test_without_labels_the_two_are_told() -> None:
    rejected, (told,) = judge_generators({("0", "dog"): points(10, seed=1), ("1", "drum"): points(10)}, unheard)
    assert not rejected
    assert told.startswith("the generators of dog and drum (nodes 0, 1) give the same samples")


def test_the_other_owners_of_a_class_outvote_one() -> None:
    sent = {(str(node), "dog"): points(0, seed=node) for node in range(3)}
    rejected, _ = judge_generators({**sent, ("3", "dog"): points(10, seed=3), ("4", "drum"): points(10)}, unheard)
    assert list(rejected) == [("3", "dog")]


def test_samples_without_variety_or_without_measure_are_rejected() -> None:
    sent = {(str(node), "dog"): points(0, seed=node) for node in range(3)}
    rejected, _ = judge_generators({**sent, ("3", "dog"): points(5, 0.0), ("4", "dog"): points(0, 100.0)}, unheard)
    assert {node for node, _ in rejected} == {"3", "4"}


def test_who_moves_farther_than_its_steps_explain_is_odd() -> None:
    moved = {"0": 8.0, "1": 9.0, "2": 15.0, "3": 30.0}
    assert list(excessive_moves(moved, {"0": 10, "1": 10, "2": 40, "3": 10})) == ["3"]
    assert excessive_moves({"0": 1.0, "1": 100.0}, {"0": 1, "1": 1}) == {}


def test_nobody_counts_much_more_than_the_median() -> None:
    assert capped({"0": 10, "1": 12, "2": 10**15}, 3.0) == {"0": 10, "1": 12, "2": 36}
    assert capped({"0": 10, "1": 10**15}, 3.0) == {"0": 10, "1": 30}
    assert capped({"0": 10**15}, 3.0) == {"0": 10**15} and capped({}, 3.0) == {}
    fifth = capped({str(node): 10**15 if node < 4 else 10 for node in range(20)}, 3.0)
    assert sum(fifth[str(node)] for node in range(4)) < sum(fifth.values()) / 2


def test_a_few_odd_clips_of_an_honest_owner_are_not_spread_out_of_proportion() -> None:
    """Most generators are of a few clips and narrow, one is of three that have little in common."""
    narrow = {(str(node), f"class {node}"): points(8 * node, 0.1, node) for node in range(5)}
    assert not judge_generators({**narrow, ("9", "dog"): points(-20, 3.0)}, unheard)[0]


def test_odd_generators_that_weigh_little_are_used_with_a_warning():
    sent = {(str(n), "dog"): points(0, seed=n) for n in range(3)} | {("9", "drum"): points(10)}
    odd = {**sent, ("3", "dog"): points(10, seed=3)}
    few = dict.fromkeys(odd, 8) | {("3", "dog"): 2}
    rejected, (told,) = judge_generators(odd, unheard, few)
    assert not rejected and "node 3's generator of dog is used" in told
    together = {**odd, ("4", "dog"): points(0, seed=4), ("5", "dog"): points(10, seed=5)}
    more = dict.fromkeys(together, 8) | {("3", "dog"): 4, ("5", "dog"): 4}
    assert judge_generators(together, unheard, more)[0].keys() == {("3", "dog"), ("5", "dog")}
