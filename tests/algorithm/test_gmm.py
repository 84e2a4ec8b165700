"""The Gaussian mixture: same interface as the VAE, its own moments."""

from __future__ import annotations

import pytest
import torch

from tests.support.generators import TOKENS, WIDTH, clips
from vegas_fl.algorithm.generators import build_sampler, train_generator
from vegas_fl.config import GMMConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.core.seeds import generator, reproducible


def config(**changes) -> GMMConfig:
    values = {"name": "gmm", "checkpoint_dir": "checkpoints", "components": 4, "covariance": "diag"}
    return GMMConfig.model_validate(values | changes)


def fit(x: torch.Tensor, seed: int = 0, **changes):
    with reproducible(seed, threads=1):
        return train_generator(x, config(**changes))


@pytest.mark.parametrize("covariance", ["diag", "spherical"])
def test_samples_lie_with_their_own_class_and_are_no_copies(covariance):
    means = torch.stack([clips(label).mean((0, 1)) for label in range(3)])
    for label in range(3):
        model, _ = fit(clips(label), covariance=covariance)
        samples = model.sampler.sample(50, generator=generator("purity"))
        assert samples.shape == (50, TOKENS, WIDTH) and samples.min() >= 0
        assert (torch.cdist(samples.mean(1), means).argmin(1) == label).all()
        assert torch.cdist(samples.flatten(1), clips(label).flatten(1)).min() > 0.1


def test_samples_have_the_moments_of_the_clips():
    x = clips(0, 400) - 3  # never clipped at zero
    model, _ = fit(x, components=1)
    samples = model.sampler.sample(400, generator=generator("moments"))
    assert torch.allclose(samples.mean(0), x.mean(0), atol=0.15)
    assert torch.allclose(samples.std(0), x.std(0), rtol=0.2, atol=0.1)


def test_what_leaves_the_node_is_weights_means_and_deviations_and_samples_the_same_elsewhere():
    model, figures = fit(clips(0))
    state = model.sampler.state_dict()
    assert set(state) == {"mean", "std", "rectified", "weights", "means", "deviations"}
    assert figures["components"] == 4 and figures["clips"] == 24
    elsewhere = build_sampler(TOKENS, WIDTH, config())
    elsewhere.load_state_dict(state)
    drawn = [s.sample(5, generator=generator(1)) for s in (model.sampler, elsewhere)]
    assert torch.equal(*drawn)


def test_the_seed_decides():
    first, again = (fit(clips(0), seed)[0].sampler.state_dict() for seed in (0, 0))
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_class_of_few_clips_uses_few_components(count):
    model, figures = fit(clips(0, count))
    assert figures["components"] == count
    samples = model.sampler.sample(20, generator=generator(0))
    assert torch.isfinite(samples).all()
    assert (samples.mean((0, 1)) - clips(0, count).mean((0, 1))).abs().mean() < 0.4


@pytest.mark.parametrize("x", [torch.zeros(0, TOKENS, WIDTH), torch.zeros(3, 4), torch.full((2, 5, 24), torch.nan)])
def test_embeddings_that_cannot_be_learnt_are_refused(x):
    with pytest.raises(VegasError, match="generator"):
        fit(x)
