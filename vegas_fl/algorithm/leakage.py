"""What scores of membership are worth: calibration by shadow models, the area under the ROC curve, lower bounds on ε.

Letters: N clips, K shadow models, R resamples.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vegas_fl.algorithm import metrics

FALSE_ALARMS = 0.01
"""Rate of false alarms at which :class:`Leak` tells how many members are found."""
CONFIDENCE = 0.95


class Leak(NamedTuple):
    """How well scores tell members from others: the area under the ROC curve (0.5: chance) with its 95 % interval, and
    the share of members found with at most :data:`FALSE_ALARMS`."""

    auc: float
    interval: tuple[float, float]
    found: float


def calibrated(scores: Tensor, shadows: Tensor, inside: Tensor) -> Tensor:
    """The likelihood ratio of membership for each clip: LiRA (Carlini et al. 2022, algorithm 1, with one variance for
    all clips, as they advise for few shadow models).

    Parameters
    ----------
    scores : Tensor [N]
        Of the attacked model.
    shadows, inside : Tensor [K, N]
        Scores of the shadow models, and which clips each was trained on. For a clip that all or none were trained on,
        the missing mean is the other one, shifted as that of other clips is on average.

    Returns
    -------
    Tensor [N]
        Log-likelihood ratios.
    """
    scores, shadows, weights = scores.double(), shadows.double(), torch.stack([inside, ~inside]).double()
    counts = weights.sum(1)  # [2, N]: shadows with and without the clip
    means = (weights * shadows).sum(1) / counts.clamp_min(1)
    both = (counts > 0).all(0)
    shift = (means[0] - means[1])[both].mean() if bool(both.any()) else torch.zeros((), dtype=means.dtype)
    means = torch.stack(
        [means[0].where(counts[0] > 0, means[1] + shift), means[1].where(counts[1] > 0, means[0] - shift)]
    )
    freedom = (counts - 1).clamp_min(0).sum(1).clamp_min(1)
    squares = (weights * (shadows - means[:, None]).square()).sum((1, 2)) / freedom
    variance = squares.clamp_min(1e-6 * shadows.var(correction=0) + torch.finfo(means.dtype).tiny)[:, None]
    likelihoods = -0.5 * (scores - means).square() / variance - 0.5 * variance.log()
    return likelihoods[0] - likelihoods[1]


def standardised(scores: Tensor) -> Tensor:
    """Scores of the clips of one class in units that other classes share; no label of membership is used."""
    return (scores - scores.mean()) / scores.std(correction=0).clamp_min(1e-12)


def area(scores: Tensor, member: Tensor, weights: Tensor) -> Tensor:
    """Area under the ROC curve ``[R]`` of scores ``[N]`` for each row of the clips' weights [R, N]; equal scores count
    half."""
    _, rank = scores.unique(return_inverse=True)
    totals = torch.zeros(2, len(weights), int(rank.max()) + 1, dtype=weights.dtype)
    for total, part in zip(totals, (member, ~member), strict=True):
        total.index_add_(1, rank[part], weights[:, part])
    below = totals[1].cumsum(1) - totals[1] / 2
    return (totals[0] * below).sum(1) / (totals[0].sum(1) * totals[1].sum(1))


def leak(
    scores: Tensor, member: Tensor, labels: Tensor, recordings: Sequence[Hashable], *, generator: torch.Generator
) -> Leak:
    """What scores ``[N]`` tell of the membership ``[N]`` of clips of the classes ``labels`` [N]; the interval is a
    bootstrap over their ``recordings``, of members and others of each class separately."""
    weights = metrics.resamples(2 * labels + member, recordings, generator=generator)
    auc = area(scores, member, torch.ones(1, len(scores), dtype=weights.dtype)).item()
    interval = metrics.interval(auc, area(scores, member, weights), len(set(recordings)), 0.0, 1.0)
    allowed = int(FALSE_ALARMS * int((~member).sum()))
    threshold = scores[~member].sort(descending=True).values[allowed]
    return Leak(auc, interval, (scores[member] > threshold).double().mean().item())


class Bound(NamedTuple):
    """A lower bound on ε with 95 % confidence, and the guesses of membership it rests on."""

    epsilon: float
    right: int
    guesses: int


def bound(right: int, guesses: int, canaries: int, delta: float = 0.0) -> Bound:
    """What no (ε, δ)-private release allows with a smaller ε: that many right guesses.

    Steinke et al. 2023, "Privacy auditing with one (1) training run", theorem 5.2: each of the ``canaries`` was
    included by a fair coin, and for ``guesses`` of them the coin was guessed. With δ = 0 it is the interval of Clopper
    and Pearson for the rate of right guesses, q = e^ε / (1 + e^ε).
    """
    from scipy.stats import binom  # imported here: few processes need it

    def probable(epsilon: float) -> float:
        """The largest probability of so many right guesses."""
        rate = 1 / (1 + torch.tensor(-epsilon).double().exp().item())
        slack = sums = 0.0
        for i in range(1, right + 1) if delta else ():
            sums += float(binom.pmf(right - i, guesses, rate))
            slack = max(slack, sums / i)
        return float(binom.sf(right - 1, guesses, rate)) + 2 * canaries * delta * slack

    low, high = 0.0, 50.0
    if probable(low) > 1 - CONFIDENCE:
        return Bound(0.0, right, guesses)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if probable(middle) <= 1 - CONFIDENCE else (low, middle)
    return Bound(low, right, guesses)


def canary_bound(
    release: Callable[[Tensor], Tensor],
    canaries: Tensor,
    *,
    generator: torch.Generator,
    delta: float = 0.0,
    times: int = 1,
) -> Bound:
    """A lower bound on the ε of a release, for adding or removing one clip.

    Each time, a fair coin for each canary decides whether it is included; the half of the canaries with the highest and
    lowest scores are guessed.

    Parameters
    ----------
    release : callable
        The canaries included ``[n, ...]`` → a score for each of the C canaries ``[C]``.
    canaries : Tensor [C, ...]
    times : int
        Releases, each with its own coins.
    """
    right = guesses = 0
    for _ in range(times):
        coins = torch.rand(len(canaries), generator=generator) < 0.5
        scores = release(canaries[coins])
        order, each = scores.argsort(), len(canaries) // 4
        right += int((~coins[order[:each]]).sum() + coins[order[len(order) - each :]].sum())
        guesses += 2 * each
    return bound(right, guesses, times * len(canaries), delta)
