"""The generator: what it samples, what leaves the node, and what it does with few or odd clips."""

from __future__ import annotations

import pytest
import torch

from tests.support.generators import TOKENS, WIDTH, clips
from vegas_fl.algorithm.generators import build_sampler, train_generator, train_generators
from vegas_fl.algorithm.generators.vae import VAE, LatentPrior, Posterior
from vegas_fl.config import VAEConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.core.seeds import generator, reproducible


def config(**changes) -> VAEConfig:
    return VAEConfig(
        **{
            "name": "vae",
            "checkpoint_dir": "checkpoints",
            "clip_latent": 4,
            "token_latent": 3,
            "hidden": 32,
            "epochs": 50,
            "max_steps": 100,
            "learning_rate": 5e-3,
            "batch_size": 16,
            "beta": 1.0,
            "warmup": 0.33,
            "input_noise": 0.05,
            "prior_components": 1,
            "prior_shrinkage": 0.0,
            "prior_scale": 1.0,
            "residual_noise": 0.0,
            **changes,
        }
    )


def train(x: torch.Tensor, seed: int = 0, **changes) -> VAE:
    with reproducible(seed, threads=1):
        return train_generator(x, config(**changes))[0]


@pytest.fixture(scope="module")
def trained() -> list[VAE]:
    return [train(clips(label)) for label in range(3)]


def test_a_seed_decides_a_sample_and_the_global_generator_does_not(trained):
    sampler = trained[0].sampler
    first = sampler.sample(7, generator=generator(1))
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again = sampler.sample(7, generator=generator(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == (7, TOKENS, WIDTH)
    assert torch.equal(first, again)
    assert not torch.equal(first, sampler.sample(7, generator=generator(2)))


def test_samples_differ_from_each_other_and_from_the_clips(trained):
    x, samples = clips(0).flatten(1), trained[0].sampler.sample(24, generator=generator(0)).flatten(1)
    assert torch.pdist(samples).min() > 0.1
    assert torch.cdist(samples, x).min() > 0.1


def test_samples_lie_with_their_own_class(trained):
    means = torch.stack([clips(label).mean((0, 1)) for label in range(3)])
    for label, vae in enumerate(trained):
        samples = vae.sampler.sample(50, generator=generator("purity")).mean(1)
        assert (torch.cdist(samples, means).argmin(1) == label).all()


def test_samples_have_the_moments_of_the_clips(trained):
    x, samples = clips(0, 400), trained[0].sampler.sample(400, generator=generator("moments"))
    assert (samples.mean((0, 1)) - x.mean((0, 1))).abs().mean() < 0.15
    between = samples.mean(1).std(0).mean() / x.mean(1).std(0).mean()
    assert 0.6 < between < 1.3


def test_training_is_reproducible_inside_its_block():
    first, again, other = (
        train(clips(0), seed, epochs=2).sampler.sample(3, generator=generator(0)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_only_decoder_prior_and_standardisation_leave_the_node(trained):
    state = trained[0].sampler.state_dict()
    assert {key.split(".")[0] for key in state} == {
        "mean",
        "std",
        "rectified",
        "prior",
        "position",
        "decoder",
        "log_sigma",
    }
    assert all(torch.isfinite(value).all() for value in state.values())


def test_an_empty_sampler_takes_the_state_and_samples_the_same(trained):
    empty = build_sampler(TOKENS, WIDTH, config())
    empty.load_state_dict(trained[1].sampler.state_dict())
    wanted = trained[1].sampler.sample(4, generator=generator(5))
    assert torch.equal(empty.sample(4, generator=generator(5)), wanted)


def test_constant_features_stay_constant():
    x = clips(0)
    x[:, :, 0] = 0.7
    x[:, :, 1] = 0.0
    samples = train(x).sampler.sample(50, generator=generator(0))
    assert (samples[:, :, 0] - 0.7).abs().max() < 0.1
    assert samples[:, :, 1].abs().max() < 0.1


def test_features_of_a_relu_are_never_negative_and_others_may_be(trained):
    assert trained[0].sampler.sample(50, generator=generator(0)).min() == 0
    assert train(clips(0) - 1).sampler.sample(50, generator=generator(0)).min() < 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_class_of_few_clips_is_learnt(count):
    x = clips(0, count)
    samples = train(x, prior_components=4).sampler.sample(20, generator=generator(0))
    assert torch.isfinite(samples).all()
    assert (samples.mean((0, 1)) - x.mean((0, 1))).abs().mean() < 0.4


def test_one_silent_clip_of_one_token_is_learnt():
    samples = train(torch.zeros(1, 1, WIDTH)).sampler.sample(3, generator=generator(0))
    assert samples.abs().max() < 0.5


def test_few_clips_use_few_components_of_a_prior_whose_shapes_do_not_change():
    with reproducible(0, threads=1):
        few, few_figures = train_generator(clips(0, 9), config(prior_components=4, epochs=1))
        many, many_figures = train_generator(clips(0, 40), config(prior_components=4, epochs=1))
    assert (few_figures["components"], many_figures["components"]) == (2, 4)
    assert few.sampler.prior.weights.count_nonzero() == 2
    shapes = [{key: value.shape for key, value in vae.sampler.state_dict().items()} for vae in (few, many)]
    assert shapes[0] == shapes[1]


def test_the_prior_reproduces_the_codes_it_was_fitted_to():
    draw = generator("codes")
    mixing = torch.randn(6, 6, generator=draw)
    z, centre = (torch.randn(2000, 6, generator=draw) @ mixing + 3).tensor_split([4], 1)
    w = centre[:, None] + 0.5 * torch.randn(2000, 8, 2, generator=draw)
    tiny = torch.tensor(-20.0)
    prior = LatentPrior(4, 2, 1)
    prior.fit(Posterior(z, tiny.expand_as(z), w, tiny.expand_as(w)), 0.0)
    z_drawn, w_drawn = prior.sample(4000, 8, generator("draw"))
    codes = [torch.cat([a, b.mean(1)], 1) for a, b in ((z, w), (z_drawn, w_drawn))]
    assert torch.allclose(codes[0].T.cov(), codes[1].T.cov(), atol=0.1 * codes[0].var(0).max())
    assert torch.allclose(w_drawn.std(1).mean(), w.std(1).mean(), rtol=0.05)


def test_two_kinds_of_clip_need_two_components():
    z = torch.cat([torch.full((20, 1), -5.0), torch.full((20, 1), 5.0)])
    w = torch.zeros(40, 2, 1)
    posterior = Posterior(z, torch.full_like(z, -6), w, torch.full_like(w, -6))
    nearest_mode = {}
    for components in (1, 2):
        prior = LatentPrior(1, 1, components)
        prior.fit(posterior, 0.0)
        nearest_mode[components] = (prior.sample(500, 2, generator(0))[0].abs() - 5).abs().mean()
    assert nearest_mode[2] < 0.5 < nearest_mode[1]


def test_the_step_limit_bounds_the_time_of_many_clips():
    with reproducible(0, threads=1):
        _, few = train_generator(clips(0, 16), config(epochs=10, max_steps=20))
        _, many = train_generator(clips(0, 160), config(epochs=10, max_steps=20))
    assert (few["epochs"], many["epochs"]) == (10, 2)


def test_parameters_do_not_grow_with_tokens_times_width():
    settings = config(clip_latent=16, token_latent=8, hidden=256)
    count = sum(value.numel() for value in build_sampler(1214, 768, settings).state_dict().values())
    assert count < 300_000


@pytest.mark.parametrize("x", [torch.zeros(0, TOKENS, WIDTH), torch.full((2, TOKENS, WIDTH), torch.nan)])
def test_embeddings_that_cannot_be_learnt_are_refused(x):
    with pytest.raises(VegasError, match="generator"):
        train(x)


def test_classes_that_share_a_network_keep_generators_of_their_own():
    with reproducible(0, threads=1):
        together = train_generators([clips(label, 12 + label) for label in range(3)], config())
    means = torch.stack([clips(label).mean((0, 1)) for label in range(3)])
    for label, (vae, figures) in enumerate(together):
        samples = vae.sampler.sample(50, generator=generator("purity")).mean(1)
        assert (torch.cdist(samples, means).argmin(1) == label).float().mean() > 0.95
        assert figures["clips"] == 12 + label
        elsewhere = build_sampler(TOKENS, WIDTH, config())
        elsewhere.load_state_dict(vae.sampler.state_dict())
        again = elsewhere.sample(50, generator=generator("purity")).mean(1)
        assert torch.equal(again, samples)
    last, bias = "decoder.2.weight", "decoder.0.bias"
    states = [vae.sampler.state_dict() for vae, _ in together]
    assert torch.equal(states[0][last], states[2][last])
    assert not torch.equal(states[0][bias], states[2][bias])


def test_a_diagonal_prior_of_a_larger_scale_is_wider_and_forgets_how_coordinates_go_together():
    z = torch.randn(60, 1) * torch.tensor([1.0, 1.0])
    w, tiny = torch.zeros(60, 3, 1), torch.tensor(-20.0)
    prior = LatentPrior(2, 1, 1)
    prior.fit(Posterior(z, tiny.expand_as(z), w, tiny.expand_as(w)), 1.0, 1.5)
    drawn, _ = prior.sample(4000, 3, generator(0))
    assert drawn.std(0).allclose(1.5 * z.std(0), rtol=0.1)
    assert abs(torch.corrcoef(drawn.T)[0, 1]) < 0.1
