"""Figures from confusion counts, against scikit-learn; nearest text target, and the distance to the right one."""

from __future__ import annotations

import math

import pytest
import sklearn.metrics
import torch
from torch.nn import functional as F

from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.core.seeds import generator

NAMES = ("cat", "cow", "dog", "hen")
LABELS = torch.randint(4, (200,), generator=generator("labels"))
PREDICTED = torch.where(
    torch.rand(200, generator=generator("wrong")) < 0.3,
    torch.randint(4, (200,), generator=generator("guess")),
    LABELS,
)


def test_figures_agree_with_scikit_learn():
    counts = metrics.confusion(LABELS, PREDICTED, 4)
    assert counts.tolist() == sklearn.metrics.confusion_matrix(LABELS, PREDICTED).tolist()
    figures = metrics.summary(counts, NAMES)
    recall = sklearn.metrics.recall_score(LABELS, PREDICTED, average=None)
    assert figures.pop("per_class") == pytest.approx(dict(zip(NAMES, recall, strict=True)))
    assert figures == pytest.approx(
        {
            "accuracy": sklearn.metrics.accuracy_score(LABELS, PREDICTED),
            "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(LABELS, PREDICTED),
            "macro_f1": sklearn.metrics.f1_score(LABELS, PREDICTED, average="macro"),
        }
    )


def test_counts_of_several_nodes_add_up():
    parts = [metrics.confusion(LABELS[part], PREDICTED[part], 4) for part in (slice(70), slice(70, None))]
    assert torch.equal(parts[0] + parts[1], metrics.confusion(LABELS, PREDICTED, 4))


def test_a_class_without_clips_counts_for_nothing():
    counts = metrics.confusion(torch.tensor([0, 0, 2]), torch.tensor([0, 1, 2]), 3)
    assert counts.dtype == torch.int64
    figures = metrics.summary(counts, NAMES[:3])
    assert figures["per_class"] == {"cat": 0.5, "dog": 1.0}
    assert figures["balanced_accuracy"] == 0.75
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)


def test_no_clip_at_all_gives_nan(recwarn: pytest.WarningsRecorder):
    empty = metrics.confusion(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), 3)
    figures = metrics.summary(empty, NAMES[:3])
    assert figures.pop("per_class") == {}
    assert all(math.isnan(value) for value in figures.values())
    assert not recwarn.list


def test_one_class_is_always_right():
    figures = metrics.summary(torch.tensor([[5]]), ["dog"])
    assert figures == {"accuracy": 1.0, "balanced_accuracy": 1.0, "macro_f1": 1.0, "per_class": {"dog": 1.0}}


def test_outputs_belong_to_the_nearest_target_of_each_branch():
    """A large part that all prompts share does not hide what tells them apart."""
    targets = Conditioning(
        1e4 + torch.randn(4, 6, generator=generator("clip")), -1e4 + torch.randn(4, 5, 3, generator=generator("t5"))
    )
    outputs = Conditioning(targets.clip[[2, 0]] + 0.01, targets.t5[[1, 3]] - 0.01)
    predicted = metrics.classify(outputs, targets)
    assert predicted["clip"].tolist() == [2, 0]
    assert predicted["t5"].tolist() == [1, 3]


def test_closeness_is_measured_from_what_the_targets_share():
    """By hand: targets (±1, 0) around (10, 0); their variance is 1 in one of two dimensions, 0.5 a value."""
    clip = torch.tensor([[11.0, 0.0], [9.0, 0.0]])
    targets = Conditioning(clip, 3 + torch.randn(2, 4, 3, generator=generator("t5")))
    outputs = Conditioning(
        torch.tensor([[11.0, 0.0], [10.0, 1.0], [9.0, 0.0]]), targets.t5.mean(0).expand(3, -1, -1) + 1e-3
    )
    near = metrics.closeness(outputs, targets, torch.tensor([0, 0, 0]))
    torch.testing.assert_close(near["clip"]["cosine"], torch.tensor([1.0, 0.0, -1.0]))
    torch.testing.assert_close(near["clip"]["mse"], torch.tensor([0.0, (1 + 1) / 2 / 0.5, 4 / 2 / 0.5]))
    torch.testing.assert_close(near["t5"]["mse"], torch.ones(3), rtol=0, atol=1e-2)  # what the mean scores


def test_closeness_of_a_single_class_is_the_plain_cosine():
    targets = Conditioning(torch.tensor([[3.0, 4.0]]), torch.ones(1, 2, 2))
    near = metrics.closeness(Conditioning(torch.tensor([[3.0, 0.0]]), torch.ones(1, 2, 2)), targets, torch.tensor([0]))
    torch.testing.assert_close(near["clip"]["cosine"], F.cosine_similarity(torch.tensor([[3.0, 0.0]]), targets.clip))
    torch.testing.assert_close(near["clip"]["mse"], torch.tensor([16 / 25]))
    assert near["t5"]["cosine"].item() == pytest.approx(1)
    assert near["t5"]["mse"].item() == 0


def test_a_margin_is_the_place_between_the_right_target_and_the_nearest_wrong_one():
    targets = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 100.0]])
    outputs = torch.tensor([[0.0, 9.0], [1.0, 0.0], [2.0, -3.0], [4.0, 0.0], [-5.0, 0.0]])
    found = metrics.margins(outputs, targets, torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(found, torch.tensor([1 - 2 * 9 / 100, 0.5, 0.0, -1.0, 1.0]).double())
    right = metrics.nearest_target(outputs, targets) == 0
    assert (found[[0, 1, 3, 4]] > 0).tolist() == right[[0, 1, 3, 4]].tolist()


def test_the_margin_of_one_class_or_of_two_that_are_the_same():
    outputs = torch.randn(3, 4, generator=generator("outputs"))
    assert metrics.margins(outputs, torch.ones(1, 4), torch.zeros(3, dtype=torch.long)).tolist() == [1, 1, 1]
    assert metrics.margins(outputs, torch.ones(2, 4), torch.tensor([0, 1, 1])).tolist() == [0, 0, 0]


def test_recordings_are_resampled_and_not_their_clips():
    """The spread is that of the mean of so many recordings, however many clips were cut from each; of few, too."""
    labels = torch.tensor([0] * 40 + [1] * 3)
    recordings = [i // 10 for i in range(40)] + [0, 1, 2]
    weights = metrics.resamples(labels, recordings, generator=generator("resamples"))
    assert weights.shape == (metrics.RESAMPLES, 43)
    assert weights.mean(0).tolist() == pytest.approx([1.0] * 43, abs=0.25)
    assert all(torch.equal(weights[:, 10 * i], weights[:, 10 * i + 9]) for i in range(4))
    assert set(weights[:, 40:].sum(1).tolist()) == {3.0}
    values = torch.tensor([1.0, 3.0, 2.0, 6.0], dtype=torch.float64)
    means = (weights[:, :40:10] @ values) / 4
    assert means.std().item() == pytest.approx((values.var() / 4).sqrt().item(), rel=0.15)


def test_classes_of_one_recording_are_resampled_together():
    weights = metrics.resamples(torch.arange(5), ["same"] * 5, generator=generator("resamples"))
    assert weights.sum(1).tolist() == pytest.approx([5.0] * metrics.RESAMPLES)
    assert len({tuple(row) for row in weights.tolist()}) > 20
    alone = metrics.resamples(torch.tensor([0]), ["one"], generator=generator("resamples"))
    assert alone.unique().tolist() == [1.0]


def test_an_interval_contains_the_truth_as_often_as_it_says():
    """Of a hundred sets of 40 recordings, each right with probability 0.7."""
    labels = torch.zeros(40, dtype=torch.long)
    hits = 0
    for k in range(100):
        right = (torch.rand(40, generator=generator("truth", k)) < 0.7).double()
        weights = metrics.resamples(labels, range(40), generator=generator("resamples", k))
        low, high = metrics.interval(right.mean().item(), weights @ right / 40, 40, 0.0, 1.0)
        hits += low <= 0.7 <= high
    assert 88 <= hits <= 99


def test_what_never_differs_has_the_interval_of_the_rule_of_three():
    same = torch.ones(metrics.RESAMPLES, dtype=torch.float64)
    assert metrics.interval(1.0, same, 30, 0.0, 1.0) == pytest.approx((0.9, 1.0))
    assert metrics.interval(0.5, same / 2, 30) == pytest.approx((0.4, 0.6))
