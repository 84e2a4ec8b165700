"""Figures of generators: against hand-made values, scikit-learn and torchmetrics; and what they say of bad ones."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from vegas_fl.algorithm import fidelity
from vegas_fl.algorithm.generators import build_sampler
from vegas_fl.config import compose
from vegas_fl.core.seeds import generator
from vegas_fl.rendering import judge

WIDTH = 32
NAMES = ("frechet", "precision", "recall", "density", "coverage", "diversity", "purity", "nearest")


def cloud(count: int, *seed: object, centre: float = 0.0) -> torch.Tensor:
    """Clips of a class: a Gaussian with a few wide directions, as embeddings have."""
    scale = torch.linspace(1.0, 0.05, WIDTH)
    return centre + scale * torch.randn(count, WIDTH, generator=generator("cloud", *seed))


MEANS = torch.stack([torch.zeros(WIDTH), torch.full((WIDTH,), 2.0), torch.full((WIDTH,), -2.0)])
TRAINING, HELD_OUT = cloud(60, "training"), cloud(40, "held out")


def judged(*draws: torch.Tensor) -> dict[str, float | None]:
    return fidelity.quality(draws, TRAINING, HELD_OUT, 0, MEANS)


def test_frechet_of_two_points_a_set_by_hand() -> None:
    """Along one axis, variances 2 and 8, means 0 and 3: 3² + (√2 - √8)² = 9 + 2."""
    x, y = torch.tensor([[-1.0, 0], [1, 0]]), torch.tensor([[1.0, 0], [5, 0]])
    assert fidelity.frechet(x, y) == pytest.approx(9 + 2)
    assert fidelity.frechet(x, x) == pytest.approx(0, abs=1e-12)
    assert fidelity.frechet(x, y[:1]) is None


@pytest.mark.parametrize("clips", [9, 300])
def test_frechet_agrees_with_torchmetrics(clips: int) -> None:
    """With fewer clips than dimensions, and with more."""
    x, y = cloud(clips, "x"), 1.5 * cloud(clips + 3, "y", centre=0.3)
    assert fidelity.frechet(x, y) == pytest.approx(judge.distances([x], y)["fid"], rel=1e-3)


def test_manifold_figures_agree_with_their_definitions_over_scikit_learn() -> None:
    fake, real = 0.8 * cloud(50, "fake"), HELD_OUT
    between = torch.cdist(fake, real).numpy()

    def radii(x: torch.Tensor, k: int):  # the first neighbour is the clip itself
        return NearestNeighbors(n_neighbors=k + 1).fit(x.numpy()).kneighbors(x.numpy())[0][:, -1]

    assert fidelity.manifold_metrics(fake, real) == pytest.approx(
        {
            "precision": (between <= radii(real, 3)).any(1).mean(),
            "recall": (between <= radii(fake, 3)[:, None]).any(0).mean(),
            "density": (between < radii(real, 5)).sum(1).mean() / 5,
            "coverage": (between.min(0) < radii(real, 5)).mean(),
        }
    )


def test_manifold_figures_by_hand() -> None:
    """Six real clips on a line, one apart: balls of precision reach 2 or 3, those of density 3, 4 or 5."""
    real = torch.arange(6.0)[:, None]
    far = torch.tensor([[8.0], [-3.0], [20.0], [30.0]])
    figures = fidelity.manifold_metrics(far, real)
    assert figures["precision"] == 0.5  # 8 is 3 from clip 5, whose third neighbour is 3 away; so is -3 from clip 0
    assert figures["recall"] == 1.0  # the third neighbour of 8 is 22 away
    assert figures["density"] == pytest.approx((1 + 1) / 4 / 5)  # 8 is within the ball of 5, at the edge of that of 4
    assert figures["coverage"] == pytest.approx(2 / 6)


def test_diversity_purity_and_nearest_by_hand() -> None:
    x = torch.tensor([[0.0, 0], [3, 4], [6, 8]])
    assert fidelity.diversity(x) == pytest.approx((5 + 5 + 10) / 3)
    assert fidelity.diversity(x[:1]) is None
    assert fidelity.purity(x, 1, torch.tensor([[0.0, 1], [6, 6]])) == pytest.approx(2 / 3)
    assert fidelity.nearest_neighbour_distance(x, torch.tensor([[0.0, 1], [6, 8]])) == 1.0  # of 1, 5, 0


def test_a_good_generator_reaches_the_ceilings() -> None:
    figures = judged(*(cloud(60, "good", i) for i in range(4)))
    assert list(figures) == [key for name in NAMES for key in (name, f"{name}_ceiling")]
    assert figures["frechet"] == pytest.approx(figures["frechet_ceiling"], rel=0.3)
    for name in ("precision", "recall", "coverage", "purity", "nearest", "diversity"):
        assert figures[name] == pytest.approx(figures[f"{name}_ceiling"], rel=0.12), name


def test_a_generator_that_copies_is_given_away_by_the_nearest_training_clip() -> None:
    figures = judged(TRAINING + 0.01 * cloud(60, "jitter"))
    assert figures["nearest"] < 0.1 * figures["nearest_ceiling"]
    assert figures["frechet"] == pytest.approx(figures["frechet_ceiling"], rel=0.1)  # which sees nothing wrong
    assert figures["precision"] == pytest.approx(figures["precision_ceiling"], abs=0.1)


def test_a_generator_that_collapses_has_neither_diversity_nor_recall() -> None:
    figures = judged(0.01 * cloud(60, "collapsed"))
    assert figures["precision"] == figures["purity"] == 1
    assert figures["diversity"] < 0.05 * figures["diversity_ceiling"]
    assert figures["recall"] < 0.1 < 0.7 < figures["recall_ceiling"]
    assert figures["frechet"] > 3 * figures["frechet_ceiling"]


def test_a_generator_of_noise_is_neither_precise_nor_pure() -> None:
    figures = judged(6 * torch.randn(60, WIDTH, generator=generator("noise")))
    assert figures["precision"] == figures["coverage"] == 0
    assert figures["purity"] < 0.7 and figures["purity_ceiling"] == 1
    assert figures["frechet"] > 30 * figures["frechet_ceiling"]


def test_a_generator_of_another_class_is_not_pure() -> None:
    figures = judged(cloud(60, "other", centre=2.0))
    assert figures["purity"] < 0.1
    assert figures["precision"] == 0


def test_with_few_clips_a_figure_is_left_out_not_made_up() -> None:
    one = cloud(1, "one")
    figures = fidelity.quality([one, one], one, one, 0, MEANS)
    assert {key for key, value in figures.items() if value is None} == {
        key for name in NAMES[:6] for key in (name, f"{name}_ceiling")
    }
    assert figures["purity"] == 1 and figures["nearest"] < 1e-6


def test_clip_vectors_do_not_depend_on_loudness() -> None:
    x = torch.rand(70, 3, 8, generator=generator("x"))
    vectors = fidelity.clip_vectors(x)
    assert vectors.shape == (70, 8)
    torch.testing.assert_close(fidelity.clip_vectors(5 * x + 1), vectors)
    assert vectors.norm(dim=1).max() <= 1
    assert torch.equal(fidelity.clip_vectors(torch.zeros(1, 3, 8)), torch.zeros(1, 8))


@pytest.mark.parametrize(("size", "sets"), [(24, 9), (200, 1), (250, 1), (1, 200)])
def test_sets_of_samples_are_as_large_as_the_training_set(size: int, sets: int) -> None:
    sampler = build_sampler(2, 6, compose().generator)
    draws = fidelity.sample_sets(sampler, size, generator=generator("draw"))
    assert [len(draw) for draw in draws] == [size] * sets
    again = fidelity.sample_sets(sampler, size, generator=generator("draw"))
    assert all(torch.equal(a, b) for a, b in zip(draws, again, strict=True))
    assert math.isfinite(torch.cat(draws).sum().item())
