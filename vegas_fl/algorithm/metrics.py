"""How good adapter outputs are: classification by the nearest text target, and the distance to the right one.

Nodes count, the server adds the counts up and turns them into figures: a confusion matrix is the one
thing from which accuracy, balanced accuracy and F1 of the whole federation can be had.

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


def closeness(outputs: Conditioning, targets: Conditioning, labels: Tensor) -> dict[str, dict[str, Tensor]]:
    """How near each output is to the text target of its clip's own class.

    Prompts share most of their words ("a photo of"), so the cosine between *any* two of their embeddings is near
    1. The common part, the mean of all targets, is therefore taken away first: 1 is the own target's direction,
    0 what the mean says. The error is in units of the targets' variance, which makes branches comparable: 0 is
    the own target, 1 what the mean scores. (With one class there is nothing in common to take away: plain
    cosine, and the error in units of the target's mean square.)

    Parameters
    ----------
    outputs : Conditioning
        Of B clips.
    targets : Conditioning
        Of all K classes.
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
    """Counts ``[K, K]`` (int64): row = true class, column = predicted class. Sums over nodes add up."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def summary(counts: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """The figures of a confusion matrix ``[K, K]``, over the classes that have clips.

    Returns
    -------
    dict
        ``accuracy``, ``balanced_accuracy`` (mean recall), ``macro_f1`` (mean F1), NaN without clips;
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
