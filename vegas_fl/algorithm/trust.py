"""Which of a round's adapters and generators cannot be an honest node's work, however slow or few its clips.

A limit on the norm of weights does not stop poison that behaves badly within it. The server judges behaviour instead,
by what it has itself: the text targets, the generators of all classes, and what the other nodes of the round sent.

- An adapter (:func:`teaching_errors`), on samples of its own classes' generators, must not be further from these
  classes' text targets than both the adapter it started from and the mean of all targets are. Nodes train towards these
  targets, so training of any length passes.
- How far training has moved an adapter (:func:`excessive_moves`) is compared with the median of the round, and with
  what AdamW can move at all.
- A generator (:func:`judge_generators`) whose samples lie among those of another class is rejected if the other owners
  of its class contradict it, or the labels of the audio encoder do; what nothing decides is a warning. Honest owners of
  a few odd clips do the same: a node's other generators still count, and so do odd ones that weigh little in a class.

Letters: M samples, S audio tokens of width D, K classes, P width of CLIP's pooled vector, T tokens of width C of T5.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from statistics import median, median_low
from typing import NamedTuple

import torch
from torch import Tensor

from vegas_fl.algorithm.adapter import Adapter, Conditioning, standardisation
from vegas_fl.algorithm.training import adapt, branch_losses
from vegas_fl.config import AdapterConfig

WORSE = 1.5
"""How many times the larger error of start and mean target an adapter's error on its own classes may be. Honest ones
reach 0.7 of it after one round with Dirichlet(0.1) shares of 24 clips a class."""
FARTHER = 2.0
"""How many times the median of a round an adapter may have moved, for the same number of steps."""
WIDER = 2.0
"""How many times as far a generator's samples may be spread as samples usually are from the middle of all (the third
quartile of the round). Those of three clips of dogs reach 1.4 in ESC-10."""
NEAR = 1.25
"""Up to how many times the radius of a class a sample counts as one of it."""
CLAIMED = 0.15
"""Share of a generator's samples that lie among another class's from which on it is judged."""
MARGIN = 3.0
"""Difference of logits, averaged over samples, by which the encoder's labels decide between two classes."""
SAME = 0.4
"""How far apart, in radii of the smaller one, two classes are that are taken for the same. Twice 24 samples of one
generator are at most 0.24 apart, honest classes of ESC-10 at least 0.45 (two seeds)."""
ODD = 0.2
"""From which share of a class's clips on its odd generators are rejected; with less, they can do little. In ESC-10 with
Dirichlet(1) shares, honest ones of one to three clips come to 0.125."""
LIKE = 0.8
"""From which share of the difference on that another class's own samples have, samples sound like that class: YAMNet
takes ESC-10's roosters for dogs, at up to 0.7 of it."""


def capped(claims: Mapping[str, int], most: float) -> dict[str, int]:
    """What nodes count by, who say how many clips they have: nobody as more than ``most`` times the median of all (of
    the middle two, the smaller)."""
    limit = int(most * median_low(claims.values())) if claims else 0
    return {node: min(claim, limit) for node, claim in claims.items()}


def teaching_errors(
    adapter: Adapter, samples: Mapping[str, Tensor], targets: Mapping[str, Conditioning], scales: Conditioning
) -> dict[str, Conditioning]:
    """Mean squared error of each branch on the samples of each class, in units of the variance of all text targets.

    Parameters
    ----------
    adapter : Adapter
    samples : mapping of str to Tensor [M, S, D]
        Generator samples of each class.
    targets : mapping of str to Conditioning
        The text target of each class: clip [P], t5 [T, C].
    scales : Conditioning
        Of each branch, from :func:`~vegas_fl.algorithm.adapter.standardisation` of the text targets.
    """
    return {label: branch_losses(adapt(adapter, x), targets[label], scales) for label, x in samples.items()}


def mean_errors(targets: Conditioning) -> Conditioning:
    """The error of the mean of all targets for the target of each class, in the same units: clip [K], t5 [K]."""
    errors = []
    for branch in targets:
        mean, scale = standardisation(branch)
        errors.append(((branch - mean) / scale).square().flatten(1).mean(1))
    return Conditioning(*errors)


def excessive_moves(moved: Mapping[str, float], steps: Mapping[str, int]) -> dict[str, str]:
    """Nodes, of three or more, whose adapter moved out of all proportion, and why.

    Parameters
    ----------
    moved : mapping
        Node → Euclidean norm of the change of its weights.
    steps : mapping
        Node → optimiser steps it took. A random walk moves by their square root.
    """
    if len(moved) < 3:
        return {}
    usual, usual_steps = median_low(moved.values()), median_low(steps.values())
    odd = {}
    for node, distance in moved.items():
        most = FARTHER * usual * math.sqrt(max(1.0, steps[node] / usual_steps))
        if distance > most:
            odd[node] = (
                f"its weights moved by {distance:.3g}, more than {most:.3g}; the median of the round is {usual:.3g}"
            )
    return odd


def farthest(adapter: Adapter, config: AdapterConfig, steps: int) -> float:
    """How far AdamW can move an adapter in so many steps: each weight by about the learning rate a step (Kingma & Ba
    2015, "Adam", section 2.1), and weight decay. Honest adapters move by less than half of it."""
    rates = {adapter.clip: config.clip_learning_rate, adapter.t5: config.t5_learning_rate}
    squares = 0.0
    for branch, rate in rates.items():
        weights = list(branch.parameters())
        decay = config.weight_decay * math.sqrt(sum(w.detach().square().sum().item() for w in weights))
        squares += (rate * steps * (math.sqrt(sum(w.numel() for w in weights)) + decay)) ** 2
    return math.sqrt(squares)


class Cloud(NamedTuple):
    """Where the samples of a class lie: their centre ``[D]``, and the distance within which 95 % of them are."""

    centre: Tensor
    radius: float

    def share(self, points: Tensor) -> float:
        """The share of ``points`` [M, D] that count as of this class."""
        return (torch.linalg.vector_norm(points - self.centre, dim=1) <= NEAR * self.radius).float().mean().item()

    def is_like(self, other: "Cloud") -> bool:
        """Whether it hardly can be told from ``other``."""
        apart = torch.linalg.vector_norm(self.centre - other.centre).item()
        return apart < SAME * min(self.radius, other.radius)


Owned = tuple[str, str]
"""Node and class."""
Prefer = Callable[[str, str, Tensor], float | None]
"""Two classes and points ``[M, D]`` → mean logit of the first less that of the second; None if either has no label."""


def judge_generators(
    points: Mapping[Owned, Tensor], prefer: Prefer, clips: Mapping[Owned, int] | None = None
) -> tuple[dict[Owned, str], list[str]]:
    """Generators that cannot be used, each with the reason; and warnings about those that nothing decides.

    Parameters
    ----------
    points : mapping
        For each node and class, samples of its generator, averaged over their tokens: [M, D].
    prefer : Prefer
        What the audio encoder's own labels say about samples.
    clips : mapping, optional
        By how many clips each counts; by default all count the same.
    """
    rejected = _degenerate(points)
    odd: dict[Owned, str] = {}
    left = {owned: x for owned, x in points.items() if owned not in rejected}
    clouds = {label: _cloud([x for (_, of), x in left.items() if of == label]) for _, label in left}
    owners = {label: sum(of == label for _, of in left) for label in clouds}
    disputes: dict[frozenset[str], set[str]] = {}
    for (node, label), x in left.items():
        for other, cloud in clouds.items():
            if other == label or (share := cloud.share(x)) < CLAIMED:
                continue
            contradicted = owners[label] >= 3 and clouds[label].share(x) < 0.5 and share > 0.5
            near = x[torch.linalg.vector_norm(x - cloud.centre, dim=1) <= NEAR * cloud.radius]
            theirs = torch.cat([y for (_, of), y in left.items() if of == other])
            verdict, theirs_too = prefer(other, label, near), prefer(other, label, theirs)
            heard = verdict is not None and theirs_too is not None and verdict >= LIKE * theirs_too >= MARGIN
            fellows = [y for (n, of), y in left.items() if of == label and n != node]
            if contradicted or (heard and not (fellows and _cloud(fellows).share(x) >= 0.5)):
                who = "the encoder's labels agree" if heard else f"not among those of the other owners of {label}"
                odd[node, label] = f"{share:.0%} of its samples lie among those of {other}, and {who}"
                break
            unclear = verdict is None or abs(verdict) < MARGIN
            if unclear and owners[label] < 3 and clouds[label].is_like(cloud):
                disputes.setdefault(frozenset((label, other)), set()).add(node)
                disputes[frozenset((label, other))] |= {n for n, of in left if of == other}
    told = [
        f"the generators of {' and '.join(sorted(pair))} (nodes {', '.join(sorted(nodes, key=int))}) give the same "
        "samples, and no label of the encoder decides which class they are of: look at these nodes' recordings"
        for pair, nodes in disputes.items()
    ]
    weights = {owned: clips[owned] if clips else 1 for owned in left}
    for (node, label), why in odd.items():
        share = _weight(odd, label, weights) / _weight(left, label, weights)
        if share >= ODD:
            rejected[node, label] = why
        else:
            told.append(f"node {node}'s generator of {label} is used, as one of few: {why}")
    return rejected, told


def _weight(owned: Iterable[Owned], label: str, weights: Mapping[Owned, int]) -> int:
    """Of all generators of a class."""
    return sum(weights[one] for one in owned if one[1] == label)


def _cloud(owners: Iterable[Tensor]) -> Cloud:
    """The class as most of its owners have it: medians over the owners' samples ``[M, D]``."""
    samples = list(owners)
    centre = torch.stack([x.mean(0) for x in samples]).quantile(0.5, 0)
    return Cloud(centre, median(torch.linalg.vector_norm(x - centre, dim=1).quantile(0.95).item() for x in samples))


def _degenerate(points: Mapping[Owned, Tensor]) -> dict[Owned, str]:
    """Generators, of three or more, whose samples are spread out of all proportion, or are all the same."""
    spreads = {owned: x.var(0, correction=0).sum().sqrt().item() for owned, x in points.items()}
    # Generators of a few clips hardly vary, and may be the most: how far they are from each other says what is usual.
    middle = torch.stack([x.mean(0) for x in points.values()]).quantile(0.5, 0) if points else torch.zeros(())
    away = sorted((x - middle).square().sum(1).mean().sqrt().item() for x in points.values())
    usual = away[3 * (len(away) - 1) // 4] if away else 0.0
    found = {}
    for owned, spread in spreads.items():
        if len(points) >= 3 and spread > WIDER * usual:
            found[owned] = f"its samples are spread by {spread:.3g}, more than {WIDER:g} times the usual {usual:.3g}"
        elif spread <= 1e-6 * torch.linalg.vector_norm(points[owned], dim=1).mean().item():
            found[owned] = "all its samples are the same"
    return found
