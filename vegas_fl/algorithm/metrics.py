"""How good an adapter's outputs are: classification by the nearest text target, and the distance to the right one.

Nodes count, and the server adds the counts: from the sum of the nodes' confusion matrices it computes accuracy,
balanced accuracy and F1 of the whole federation, and from the sum of their resamples 95 % intervals.

Letters: B clips, K classes, P width of CLIP's pooled vector, T tokens of width C of T5, R resamples.
"""

import itertools
import math
from collections.abc import Hashable, Sequence
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


def margins(outputs: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
    """How safely each output is classified by :func:`nearest_target`; unlike accuracy, it tells good adapters apart.

    On the line from the nearest wrong target to the right one: 1 is at the right target or beyond it, 0 half-way,
    where the output would belong to either class, -1 at the wrong one.

    Parameters
    ----------
    outputs : Tensor [B, ...]
        One branch of an adapter's output.
    targets : Tensor [K, ...]
        The same branch of the text targets.
    labels : Tensor [B]
        The clips' classes.

    Returns
    -------
    Tensor [B]
        Float64; 1 for all if there is one class only; 0 if two classes have the same target.
    """
    outputs, targets = outputs.flatten(1).double(), targets.flatten(1).double()
    distances = targets.square().sum(1) - 2 * outputs @ targets.T  # less the outputs' own squares: they cancel
    apart = (targets[labels, None] - targets).square().sum(-1).clamp_min(torch.finfo(targets.dtype).tiny)
    lines = (distances - distances.gather(1, labels[:, None])) / apart
    lines[torch.arange(len(labels)), labels] = torch.inf
    return lines.amin(1).clamp_max(1.0)


RESAMPLES = 500
"""R: the number of resamples of a bootstrap."""


def resamples(labels: Tensor, recordings: Sequence[Hashable], *, generator: torch.Generator) -> Tensor:
    """How much each clip weighs in each resample of a bootstrap over source recordings.

    Clips of one recording resemble each other, so recordings are drawn, not clips. In each class, of n recordings
    n - 1 are drawn with replacement and weigh n / (n - 1): the rescaled bootstrap (Rao and Wu 1988), whose variance is
    right for few recordings too. Classes of one recording are drawn from together.

    Parameters
    ----------
    labels : Tensor [B]
        The clips' classes.
    recordings : sequence [B]
        What each clip was cut from.
    generator : torch.Generator
        Its seed has to be secret: who knows what was drawn can solve for the score of every single clip.

    Returns
    -------
    Tensor [R, B]
        Weights, float64, with mean 1.
    """
    names = list(zip(labels.tolist(), recordings, strict=True))
    place = {name: position for position, name in enumerate(dict.fromkeys(names))}
    strata: dict[int, list[int]] = {}
    for (label, _), position in place.items():
        strata.setdefault(label, []).append(position)
    single = [strata.pop(label)[0] for label in list(strata) if len(strata[label]) == 1]
    weights = torch.ones(RESAMPLES, len(place), dtype=torch.float64)
    for members in (*strata.values(), single):
        if (n := len(members)) > 1:
            drawn = torch.randint(n, (RESAMPLES, n - 1), generator=generator)
            counts = torch.zeros(RESAMPLES, n, dtype=torch.float64).scatter_add_(
                1, drawn, torch.ones(drawn.shape).double()
            )
            weights[:, members] = counts * n / (n - 1)
    return weights[:, [place[name] for name in names]]


def interval(
    value: float, resampled: Tensor, recordings: int, least: float = -math.inf, most: float = math.inf
) -> tuple[float, float]:
    """A 95 % interval of ``value``, which lies in [least, most]: percentiles of what the resamples ``[R]`` give.

    If they all give the same, because every clip is right (or wrong), the rule of three: what happens in fewer than
    3 of n recordings may not have been seen.
    """
    low, high = resampled.quantile(torch.tensor([0.025, 0.975], dtype=resampled.dtype)).tolist()
    if high - low < 1e-9:
        low, high = value - 3 / recordings, value + 3 / recordings
    return max(low, least), min(high, most)


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
