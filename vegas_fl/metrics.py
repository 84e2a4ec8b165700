"""How good adapter outputs are: classification by the nearest text target.

Nodes count, the server adds the counts up and turns them into figures: a confusion matrix is the one
thing from which accuracy, balanced accuracy and F1 of the whole federation can be had.

Letters: B clips, K classes, P width of CLIP's pooled vector, T tokens of width C of T5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vegas_fl.adapters import Conditioning


def nearest(outputs: Tensor, targets: Tensor) -> Tensor:
    """Class of each output: that of the target at the smallest squared Euclidean distance.

    Parameters
    ----------
    outputs : Tensor [B, ...]
        One branch of an adapter's output; all dimensions after the first are flattened.
    targets : Tensor [K, ...]
        The text targets of the same branch, one a class.

    Returns
    -------
    Tensor [B]
        Class indices, int64.
    """
    # Distances to far-away points lose the digits that tell the classes apart: move the origin first.
    origin = targets.flatten(1).mean(0)
    outputs, targets = outputs.flatten(1) - origin, targets.flatten(1) - origin
    return (targets.square().sum(1) - 2 * outputs @ targets.T).argmin(1)


def classify(outputs: Conditioning, targets: Conditioning) -> dict[str, Tensor]:
    """:func:`nearest` for each branch: ``{"clip": [B], "t5": [B]}``."""
    return {name: nearest(getattr(outputs, name), getattr(targets, name)) for name in Conditioning._fields}


def confusion(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Counts ``[K, K]`` (int64): row = true class, column = predicted class. Sums over nodes add up."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def accuracy(counts: Tensor) -> float:
    """Share of clips on the diagonal of a confusion matrix; NaN without clips."""
    return (counts.diagonal().sum() / counts.sum()).item()


def per_class_accuracy(counts: Tensor) -> Tensor:
    """Recall of each class ``[K]``; NaN for a class without clips."""
    return counts.diagonal() / counts.sum(1)


def balanced_accuracy(counts: Tensor) -> float:
    """Mean recall over the classes that have clips."""
    return per_class_accuracy(counts).nanmean().item()


def macro_f1(counts: Tensor) -> float:
    """Mean F1 over the classes that have clips: 2 TP / (2 TP + FP + FN)."""
    f1 = 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))
    return f1[counts.sum(1) > 0].mean().item()


def summary(counts: Tensor) -> dict[str, float]:
    """``accuracy``, ``balanced_accuracy`` and ``macro_f1`` of a confusion matrix."""
    return {
        "accuracy": accuracy(counts),
        "balanced_accuracy": balanced_accuracy(counts),
        "macro_f1": macro_f1(counts),
    }
