"""How good an adapter's outputs are: classification by the nearest text target, and the distance to the right one.

Nodes count, and the server adds the counts: from the sum of the nodes' confusion matrices it computes accuracy,
balanced accuracy and F1 of the whole federation.

Letters: B clips, K classes, P width of CLIP's pooled vector, T tokens of width C of T5.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vegas_fl.algorithm.adapter import Conditioning, standardisation


def nearest_target(outputs: Tensor, targets: Tensor) -> Tensor:
    """Class of each output: that of the target at the smallest Euclidean distance.

    Parameters
    ----------
    outputs : Tensor [B, ...]
        One branch of an adapter's output; all dimensions after the first are flattened.
    targets : Tensor [K, ...]
        The same branch of the text targets, one for each class.

    Returns
    -------
    Tensor [B]
        Class indices, int64.
    """
    # Far from the origin, rounding would hide the differences between classes: move the origin first.
    origin = targets.flatten(1).mean(0)
    outputs, targets = outputs.flatten(1) - origin, targets.flatten(1) - origin
    return (targets.square().sum(1) - 2 * outputs @ targets.T).argmin(1)


def classify(outputs: Conditioning, targets: Conditioning) -> dict[str, Tensor]:
    """:func:`nearest_target` for each branch: ``{"clip": [B], "t5": [B]}``."""
    return {name: nearest_target(getattr(outputs, name), getattr(targets, name)) for name in Conditioning._fields}


def closeness(outputs: Conditioning, targets: Conditioning, labels: Tensor) -> dict[str, dict[str, Tensor]]:
    """How near each output is to the text target of its clip's class: cosine similarity and mean squared error.

    Prompts share most of their words ("a photo of"), so the cosine of *any* two of their embeddings is near 1.
    Therefore the mean of all targets is subtracted first: a cosine of 1 is the direction of the right target, 0 that
    of the mean. The error is in units of the targets' variance, which makes branches comparable: the right target
    has error 0, the mean on average 1. (With one class nothing is subtracted, and the unit is the target's mean
    square.)

    Parameters
    ----------
    outputs : Conditioning
        The adapter's outputs for B clips: clip [B, P], t5 [B, T, C].
    targets : Conditioning
        The text targets of all K classes: clip [K, P], t5 [K, T, C].
    labels : Tensor [B]
        The clips' classes.

    Returns
    -------
    dict
        Branch → ``{"cosine": [B], "mse": [B]}``.
    """
    figures = {}
    for name, output, target in zip(Conditioning._fields, outputs, targets, strict=True):
        mean, scale = standardisation(target)
        origin = mean if len(target) > 1 else torch.zeros_like(mean)
        wanted = target[labels]
        figures[name] = {
            "cosine": F.cosine_similarity((output - origin).flatten(1), (wanted - origin).flatten(1)),
            "mse": ((output - wanted) / scale).square().flatten(1).mean(1),
        }
    return figures


def confusion(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Confusion matrix ``[K, K]`` (int64): row = true class, column = predicted class."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def summary(counts: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Metrics of a confusion matrix ``[K, K]``, over the classes that have clips.

    Returns
    -------
    dict
        ``accuracy``, ``balanced_accuracy`` (mean recall) and ``macro_f1`` (mean F1), NaN without clips;
        ``per_class``: class → recall.
    """
    counts = counts.double()
    held = counts.sum(1) > 0
    recall = (counts.diagonal() / counts.sum(1))[held]
    f1 = (2 * counts.diagonal() / (counts.sum(0) + counts.sum(1)))[held]
    return {
        "accuracy": (counts.diagonal().sum() / counts.sum()).item(),
        "balanced_accuracy": recall.mean().item(),
        "macro_f1": f1.mean().item(),
        "per_class": dict(zip(itertools.compress(classes, held.tolist()), recall.tolist(), strict=True)),
    }
