"""Figures from confusion counts, against scikit-learn; nearest text target."""

from __future__ import annotations

import math

import pytest
import sklearn.metrics
import torch

from vegas_fl import metrics
from vegas_fl.adapters import Conditioning
from vegas_fl.seeds import generator

LABELS = torch.randint(4, (200,), generator=generator("labels"))
PREDICTED = torch.where(
    torch.rand(200, generator=generator("wrong")) < 0.3,
    torch.randint(4, (200,), generator=generator("guess")),
    LABELS,
)


def test_figures_agree_with_scikit_learn():
    counts = metrics.confusion(LABELS, PREDICTED, 4)
    assert counts.tolist() == sklearn.metrics.confusion_matrix(LABELS, PREDICTED).tolist()
    assert metrics.summary(counts) == pytest.approx(
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
    assert metrics.per_class_accuracy(counts).tolist()[::2] == [0.5, 1.0]
    assert math.isnan(metrics.per_class_accuracy(counts)[1])
    assert metrics.balanced_accuracy(counts) == 0.75
    assert metrics.macro_f1(counts) == pytest.approx((2 / 3 + 1) / 2)


def test_no_clip_at_all_gives_nan():
    empty = metrics.confusion(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), 3)
    assert all(math.isnan(value) for value in metrics.summary(empty).values())


def test_outputs_belong_to_the_nearest_target_of_each_branch():
    """A large part that all prompts share does not hide what tells them apart."""
    targets = Conditioning(
        1e4 + torch.randn(4, 6, generator=generator("clip")), -1e4 + torch.randn(4, 5, 3, generator=generator("t5"))
    )
    outputs = Conditioning(targets.clip[[2, 0]] + 0.01, targets.t5[[1, 3]] - 0.01)
    predicted = metrics.classify(outputs, targets)
    assert predicted["clip"].tolist() == [2, 0]
    assert predicted["t5"].tolist() == [1, 3]
