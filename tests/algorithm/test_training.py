"""Local training: every clip is pulled to the target of its own class."""

from __future__ import annotations

import math

import pytest
import torch

from tests.support.adapters import SHAPE, TARGETS, clips, config
from vegas_fl.algorithm.adapter import Adapter, Conditioning
from vegas_fl.algorithm.metrics import classify
from vegas_fl.algorithm.training import adapt, train_adapter
from vegas_fl.core.errors import VegasError
from vegas_fl.core.seeds import reproducible


def train(x, labels, epochs: int, targets: Conditioning = TARGETS, **changes) -> tuple[Adapter, dict[str, float]]:
    with reproducible(0, threads=1):
        adapter = Adapter(SHAPE, config(), targets)
        figures = train_adapter(adapter, x, labels, targets, config(**changes), epochs)
    return adapter, figures


def test_in_a_batch_of_mixed_classes_each_clip_gets_its_own_target():
    x, labels = clips(0, 1, 2)
    adapter, figures = train(x, labels, 20, batch_size=24)
    for predicted in classify(adapt(adapter, x), TARGETS).values():
        assert torch.equal(predicted, labels)
    assert figures["clip_loss"] < 0.1
    assert figures["t5_loss"] < 0.1


def test_a_node_of_one_class_learns_that_class():
    x, labels = clips(1)
    adapter, figures = train(x, labels, 20)
    assert all((predicted == 1).all() for predicted in classify(adapt(adapter, x), TARGETS).values())
    assert figures["clips"] == 24


def test_a_federation_of_one_class_is_learnt_although_its_targets_do_not_vary():
    x, _ = clips(0)
    only = Conditioning(*(target[:1] for target in TARGETS))
    adapter, figures = train(x, torch.zeros(24, dtype=torch.long), 20, only)
    outputs = adapt(adapter, x)
    assert figures["t5_loss"] < 0.01
    assert (outputs.t5 - only.t5).abs().mean() < 0.1 * only.t5.abs().mean()


def test_the_losses_do_not_depend_on_the_unit_of_a_target():
    x, labels = clips(0, 1)
    _, small = train(x, labels, 2)
    _, large = train(x, labels, 2, Conditioning(TARGETS.clip * 1000, TARGETS.t5))
    assert large["clip_loss"] == pytest.approx(small["clip_loss"], rel=1e-3)
    assert large["t5_loss"] == pytest.approx(small["t5_loss"], rel=1e-6)


def test_each_branch_has_its_own_learning_rate():
    x, labels = clips(0, 1)
    adapter, _ = train(x, labels, 1, clip_learning_rate=1e-12)
    with reproducible(0, threads=1):
        untrained = Adapter(SHAPE, config(), TARGETS)
    assert torch.allclose(adapter.clip.value, untrained.clip.value, atol=1e-9)
    assert not torch.allclose(adapter.t5.value, untrained.t5.value, atol=1e-4)


def test_training_is_reproducible_inside_its_block():
    states = [train(*clips(0, 1), 2)[0].state_dict() for _ in range(2)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_no_epoch_changes_nothing():
    adapter, figures = train(*clips(0), 0)
    with reproducible(0, threads=1):
        untrained = Adapter(SHAPE, config(), TARGETS)
    assert all(torch.equal(value, untrained.state_dict()[key]) for key, value in adapter.state_dict().items())
    assert math.isnan(figures["clip_loss"])


@pytest.mark.parametrize(
    ("x", "labels"),
    [
        (torch.zeros(0, 5, 24), torch.zeros(0, dtype=torch.long)),
        (torch.zeros(2, 5, 24), torch.zeros(1, dtype=torch.long)),
        (torch.zeros(2, 5, 24), torch.tensor([0, 3])),
    ],
)
def test_clips_and_labels_that_do_not_fit_are_refused(x, labels):
    with pytest.raises(VegasError):
        train(x, labels, 1)
