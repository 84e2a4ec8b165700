"""The closed-form adapter: ridge regression on sums over clips, which nodes add up in one round.

A clip is described by the mean and deviation over time of its normalised tokens. The regression needs the recordings
only through two sums, the Gram matrix of these statistics and their sum by class. Sums of nodes add up to those of all
clips, so the result is the same as with pooled recordings, whatever the split (Fanì et al. 2024, "Accelerating
heterogeneous federated learning with closed-form classifiers").

**What the sums reveal.** The Gram matrix of a node with N clips has rank N: its eigenvectors span the statistics of the
node's clips, so with few clips it tells for any clip whether the node had it, and with one it is that clip. A node's
class sums say which classes it has. With ``aggregation.secure_sum``, only sums over all nodes can be read.

Letters: N clips, S audio tokens of width D, F = 2 D + 1 statistics, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

RIDGE = 0.3
"""Weight of the penalty, for each clip."""


class ClipSums(NamedTuple):
    """Sums over clips, float64: ``gram`` [F, F] and ``by_class`` [F, K]. The last statistic is 1, so the last row of
    ``by_class`` counts the clips of each class."""

    gram: Tensor
    by_class: Tensor

    def __add__(self, other: ClipSums) -> ClipSums:  # type: ignore[override]
        return ClipSums(self.gram + other.gram, self.by_class + other.by_class)


def token_statistics(x: Tensor) -> Tensor:
    """Mean and deviation over tokens of the normalised tokens of ``x`` [N, S, D]: ``[N, 2 D]``."""
    tokens = F.layer_norm(x, x.shape[-1:])
    return torch.cat([tokens.mean(1), tokens.std(1, correction=0)], 1)


def clip_sums(x: Tensor, labels: Tensor, classes: int) -> ClipSums:
    """The sums over clips ``x`` [N, S, D] of classes ``labels`` [N]."""
    statistics = F.pad(token_statistics(x), (0, 1), value=1.0).double()
    return ClipSums(statistics.T @ statistics, statistics.T @ F.one_hot(labels, classes).double())


def solve(sums: ClipSums, ridge: float = RIDGE) -> Tensor:
    """The map ``[F, K]`` from statistics to scores of classes (1 for the right one, 0 for others) that has the least
    squared error plus ``ridge`` N times its squared norm."""
    penalty = ridge * sums.by_class[-1].sum()
    return torch.linalg.solve(sums.gram + penalty * torch.eye(len(sums.gram), dtype=sums.gram.dtype), sums.by_class)
