"""Membership attacks, and what their scores are worth."""

import pytest
import torch

from vegas_fl.algorithm import leakage, membership
from vegas_fl.algorithm.generators import train_generator
from vegas_fl.config import GMMConfig, compose
from vegas_fl.core import seeds

TOKENS, WIDTH, MEMBERS = 3, 24, 12


def clips(count: int, seed: int) -> torch.Tensor:
    """Clips [N, S, D] of one class."""
    rng = seeds.generator("clips", seed)
    return torch.randn(count, 1, WIDTH, generator=rng) + 0.3 * torch.randn(count, TOKENS, WIDTH, generator=rng)


def auc(scores: torch.Tensor, member: torch.Tensor) -> float:
    """Area under the ROC curve."""
    return leakage.area(scores, member, torch.ones(1, len(scores))).item()


def attacked(kind: str, trained: torch.Tensor, x: torch.Tensor) -> membership.Scores:
    """Scores of an overfitted generator of one kind."""
    config = GMMConfig(name="gmm", checkpoint_dir="", components=MEMBERS // 2, covariance="diag")
    if kind == "vae":
        config = compose(["generator.epochs=150", "generator.beta=0", "generator.learning_rate=0.01"]).generator
    with seeds.reproducible(0, threads=1):
        model, _ = train_generator(trained, config)
    precision = membership.precision_of([clips(200, 9)])
    return membership.attack_generator(model.sampler, x, precision, generator=seeds.generator(1))


@pytest.mark.parametrize(("kind", "attack"), [("gmm", "density"), ("vae", "latent reconstruction")])
def test_members_of_an_overfitted_generator_are_told_apart_and_those_of_another_are_not(kind, attack):
    x = clips(2 * MEMBERS, 1)
    member = torch.arange(len(x)) < MEMBERS
    scores = attacked(kind, x[member], x)
    assert auc(scores[attack], member) > 0.9 and auc(scores["mean embedding"], member) > 0.7
    elsewhere = attacked(kind, clips(MEMBERS, 2), x)
    found = [
        leakage.leak(s, member, member * 0, list(range(len(x))), generator=seeds.generator(0))
        for s in elsewhere.values()
    ]
    assert all(leak.interval[0] < 0.6 and abs(leak.auc - 0.5) < 0.3 for leak in found), found


def test_calibration_finds_members_among_clips_of_different_difficulty():
    rng = torch.Generator().manual_seed(0)
    hard, inside = 5 * torch.randn(60, generator=rng), torch.rand(9, 60, generator=rng) < 0.5
    scores = hard + inside + 0.3 * torch.randn(9, 60, generator=rng)
    ratios = leakage.calibrated(scores[0], scores[1:], inside[1:])
    assert auc(scores[0], inside[0]) < 0.75 and auc(ratios, inside[0]) > 0.9


def test_equal_scores_are_chance_and_no_members_are_found():
    member = torch.arange(20) < 10
    found = leakage.leak(torch.zeros(20), member, member * 0, list(range(20)), generator=seeds.generator(0))
    assert found.auc == 0.5 and found.found == 0


def canaries(noise: float) -> leakage.Bound:
    """The bound for a noisy sum of 128 orthonormal canaries."""
    rng, unit = torch.Generator().manual_seed(0), torch.eye(128)
    return leakage.canary_bound(
        lambda rows: unit @ (rows.sum(0) + noise * torch.randn(128, generator=rng)), unit, generator=rng, times=8
    )


def test_the_canary_bound_is_above_a_claim_without_noise_and_below_it_with_much():
    claim = 1.0
    assert canaries(0).epsilon > claim and canaries(0).right == canaries(0).guesses
    assert canaries(4).epsilon < claim < canaries(0.5).epsilon


def test_the_bound_is_that_of_clopper_and_pearson_and_delta_lowers_it():
    rate = 0.05 ** (1 / 64)  # all of 64 right
    assert leakage.bound(64, 64, 128).epsilon == pytest.approx(torch.tensor(rate / (1 - rate)).log().item(), abs=1e-4)
    assert leakage.bound(32, 64, 128).epsilon == 0
    assert leakage.bound(60, 64, 128, delta=1e-3).epsilon < leakage.bound(60, 64, 128).epsilon
