"""Distillation: owners teach, one at a time; and averaging."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Sequence
from typing import Literal

import pytest
import torch

from tests.support.adapters import SHAPE, TARGETS, clips, config
from vegas_fl.algorithm.adapter import Adapter, Conditioning
from vegas_fl.algorithm.distillation import (
    Teacher,
    average,
    distil,
    distillation_targets,
    mix,
    text_replay,
)
from vegas_fl.algorithm.metrics import classify
from vegas_fl.algorithm.training import adapt, train_adapter
from vegas_fl.config import KDConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.core.seeds import reproducible

KD = KDConfig(
    name="kd",
    teachers="owners",
    epochs=5,
    learning_rate=1e-2,
    weight_decay=0.01,
    samples_per_class=24,
    batch_size=8,
    mixup=0.0,
    warm_start=False,
)
NAMES = ("dog", "rain", "saw")


@pytest.fixture(scope="module")
def teachers() -> list[Adapter]:
    """Three nodes of one class each, trained from the same adapter."""
    trained = []
    for label in range(3):
        with reproducible("start", threads=1):
            adapter = Adapter(SHAPE, config(), TARGETS)
        with reproducible(label, threads=1):
            train_adapter(adapter, *clips(label), TARGETS, config(), 20)
        trained.append(adapter)
    return trained


def samples(count: int = 24) -> dict[str, torch.Tensor]:
    return {name: clips(label, count=count)[0] for label, name in enumerate(NAMES)}


def taught(adapters: Sequence[Adapter], weights: Sequence[dict[str, float]]) -> list[Teacher]:
    return [(lambda adapter=adapter: adapter, weight) for adapter, weight in zip(adapters, weights, strict=True)]


def student() -> Adapter:
    with reproducible("student", threads=1):
        return Adapter(SHAPE, config(), TARGETS)


def learn(x: torch.Tensor, targets: Conditioning, seed: int = 0) -> Adapter:
    adapter = student()
    with reproducible(seed, threads=1):
        distil(adapter, x, targets, KD, targets)
    return adapter


def test_one_teacher_at_a_time_gives_the_mean_of_all_at_once(teachers):
    weights = [{"dog": 3.0, "rain": 1.0}, {"rain": 2.0}, {"rain": 5.0, "saw": 1.0}]
    x, targets = distillation_targets(samples(), taught(teachers, weights))
    for number, name in enumerate(NAMES):
        part = slice(24 * number, 24 * (number + 1))
        assert torch.equal(x[part], samples()[name])
        shares = torch.tensor([weight.get(name, 0.0) for weight in weights])
        for branch, target in zip(("clip", "t5"), targets, strict=True):
            outputs = torch.stack([getattr(adapt(teacher, x[part]), branch) for teacher in teachers])
            wanted = torch.einsum("n,n...->...", shares / shares.sum(), outputs)
            assert torch.allclose(target[part], wanted, atol=1e-5)


@pytest.mark.parametrize("reduce", ["mean", "median"])
def test_a_teacher_is_dropped_before_the_next_one_is_loaded(reduce: Literal["mean", "median"]) -> None:
    alive: list[weakref.ref] = []

    def load() -> Adapter:
        gc.collect()
        assert not any(reference() is not None for reference in alive)
        teacher = student()
        alive.append(weakref.ref(teacher))
        return teacher

    distillation_targets(samples(), [(load, {name: 1.0}) for name in NAMES], reduce)
    assert len(alive) == len(NAMES)


def test_owners_teach_all_classes_and_the_mean_over_all_nodes_teaches_none(teachers):
    owners = [{name: 24.0} for name in NAMES]
    everyone = [dict.fromkeys(NAMES, 24.0)] * 3
    unseen, labels = clips(0, 1, 2, count=60)
    accuracy = {}
    for kind, weights in (("owners", owners), ("all", everyone)):
        x, targets = distillation_targets(samples(), taught(teachers, weights))
        predicted = classify(adapt(learn(x, targets), unseen), TARGETS)
        accuracy[kind] = [(predicted[branch] == labels).float().mean().item() for branch in ("clip", "t5")]
        # How far the targets of different classes lie apart, against the text targets.
        spread = targets.t5.unflatten(0, (3, -1)).mean(1).std(0).mean() / TARGETS.t5.std(0).mean()
        assert spread > 0.8 if kind == "owners" else spread < 0.3
    assert min(accuracy["owners"]) > 0.95
    assert max(accuracy["all"]) < 0.8


def test_classes_may_have_different_numbers_of_samples(teachers):
    uneven = {name: x[: 5 + number] for number, (name, x) in enumerate(samples().items())}
    x, targets = distillation_targets(uneven, taught(teachers[:1], [dict.fromkeys(NAMES, 1.0)]))
    assert len(x) == len(targets.clip) == len(targets.t5) == 5 + 6 + 7


def test_a_class_without_a_teacher_is_named(teachers):
    weights = {"dog": 24.0, "rain": 0.0, "no such class": 3.0}
    with pytest.raises(VegasError, match="No adapter teaches rain, saw"):
        distillation_targets(samples(), taught(teachers[:1], [weights]))


def test_teaching_changes_neither_teacher_nor_samples(teachers):
    before, given = copy.deepcopy(teachers[0].state_dict()), samples()
    distillation_targets(given, taught(teachers[:1], [dict.fromkeys(NAMES, 2.0)]))
    assert all(torch.equal(value, before[key]) for key, value in teachers[0].state_dict().items())
    assert all(torch.equal(given[name], x) for name, x in samples().items())


def test_distillation_is_reproducible_and_depends_on_its_seed(teachers):
    x, targets = distillation_targets(samples(), taught(teachers[:1], [dict.fromkeys(NAMES, 1.0)]))
    first, again, other = (learn(x, targets, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_blend_lies_between_two_samples_and_its_target_between_theirs():
    x = torch.arange(8.0).reshape(8, 1, 1).expand(8, 2, 3)
    targets = Conditioning(10 * x[:, 0, :2], -x)
    with reproducible(0, threads=1):
        blend, wanted = mix(x, targets, 0.3)
    assert not torch.equal(blend, x)
    assert blend.min() >= 0 and blend.max() <= 7
    assert torch.allclose(wanted.clip, 10 * blend[:, 0, :2], atol=1e-4)
    assert torch.allclose(wanted.t5, -blend, atol=1e-5)
    assert mix(x, targets, 0.0)[0] is x


def test_replay_asks_for_the_text_target_of_each_class_and_teaches_all():
    given = {"saw": samples()["saw"], "dog": samples()["dog"][:5]}
    x, wanted = text_replay(given, NAMES, TARGETS)
    assert torch.equal(x, torch.cat([given["saw"], given["dog"]]))
    assert torch.equal(wanted.clip, TARGETS.clip[[2] * 24 + [0] * 5])
    unseen, labels = clips(0, 1, 2, count=60)
    predicted = classify(adapt(learn(*text_replay(samples(), NAMES, TARGETS)), unseen), TARGETS)
    assert min((predicted[branch] == labels).float().mean() for branch in ("clip", "t5")) > 0.95


def test_both_branches_learn_although_their_units_differ():
    x, labels = clips(0, 1, 2)
    targets = Conditioning(TARGETS.clip * 1000, TARGETS.t5 / 1000)
    with reproducible(0, threads=1):
        adapter = Adapter(SHAPE, config(), targets)
        figures = distil(adapter, x, Conditioning(*(target[labels] for target in targets)), KD, targets)
    assert figures["clip_loss"] < 0.5
    assert figures["t5_loss"] < 0.5


def test_an_average_is_weighted_lazy_and_keeps_types():
    states = ({"w": torch.tensor([float(n)]), "n": torch.tensor(n, dtype=torch.int64)} for n in (1, 4))
    mean = average(states, [2, 1])
    assert mean["w"].item() == pytest.approx(2.0)
    assert mean["n"].dtype == torch.int64


def test_the_average_of_equal_adapters_is_that_adapter(teachers):
    state = teachers[0].state_dict()
    mean = average([state] * 3, [24, 7, 1])
    assert all(torch.equal(value, state[key]) for key, value in mean.items())


@pytest.mark.parametrize(
    ("states", "weights"),
    [([], []), ([{"w": torch.ones(1)}], [0]), ([{"w": torch.ones(1)}, {"v": torch.ones(1)}], [1, 1])],
)
def test_what_cannot_be_averaged_is_refused(states, weights):
    with pytest.raises(VegasError):
        average(states, weights)


def test_the_median_of_owners_outvotes_one_of_three(teachers: list[Adapter]) -> None:
    """Whatever the odd one says, the targets stay between what the honest ones say."""
    honest = [teachers[0], copy.deepcopy(teachers[0])]
    with torch.no_grad():
        for parameter in honest[1].parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    liar = copy.deepcopy(teachers[0])
    with torch.no_grad():
        for parameter in liar.parameters():
            parameter.mul_(-100)
    x = {"dog": samples()["dog"]}
    owners = taught([honest[0], liar, honest[1]], [{"dog": 8}] * 3)
    seen, wanted = distillation_targets(x, owners, "median")
    assert torch.equal(seen, x["dog"])
    for branch, one, other in zip(wanted, adapt(honest[0], seen), adapt(honest[1], seen), strict=True):
        low, high = torch.minimum(one, other), torch.maximum(one, other)
        assert bool(((low <= branch) & (branch <= high)).all())


def test_the_median_of_two_is_their_weighted_mean_and_of_none_a_sentence(teachers: list[Adapter]) -> None:
    x = {"dog": samples()["dog"]}
    _, wanted = distillation_targets(x, taught(teachers[:2], [{"dog": 1}, {"dog": 9}]), "median")
    _, mean = distillation_targets(x, taught(teachers[:2], [{"dog": 1}, {"dog": 9}]))
    assert torch.equal(wanted.clip, mean.clip) and torch.equal(wanted.t5, mean.t5)
    with pytest.raises(VegasError, match="No adapter teaches dog"):
        distillation_targets(x, taught(teachers[:1], [{"rain": 3}]), "median")
