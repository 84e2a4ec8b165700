"""Adapters that pool statistics: sizes at FLUX.1's widths, and what they depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.support.adapters import SHAPE, TARGETS, clips, config
from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Adapter, AdapterShape, Conditioning, standardisation
from vegas_fl.algorithm.pooling import ATTRIBUTES, REPEATS
from vegas_fl.algorithm.training import adapt, train_adapter

FLUX = AdapterShape(audio_tokens=1214, audio_width=768, clip_width=768, t5_tokens=17, t5_width=4096)


def test_sizes_at_the_widths_of_flux():
    adapter = Adapter(FLUX, config(architecture="statistics", width=1024, heads=8, hidden=2048))
    clip, t5 = (sum(4e-6 * x.numel() for x in branch.state_dict().values()) for branch in (adapter.clip, adapter.t5))
    assert clip <= 30  # MB in float32
    assert t5 <= 55


@pytest.mark.parametrize("tokens", [1, 5])
def test_it_learns_classes_whatever_the_order_of_tokens(tokens):
    x, labels = clips(0, 1, 2)
    x, settings = x[:, :tokens], config(architecture="statistics")
    torch.manual_seed(0)
    adapter = Adapter(SHAPE, settings, TARGETS)
    train_adapter(adapter, x, labels, TARGETS, settings, 12)
    outputs = adapt(adapter, x)
    assert all((classes == labels).all() for classes in metrics.classify(outputs, TARGETS).values())
    assert torch.allclose(outputs.t5, adapt(adapter, x.flip(1)).t5, atol=1e-4)


@pytest.mark.slow
def test_attributes_reach_both_branches_whatever_the_class():
    x, labels = clips(0, 1, 2)
    words = torch.where(torch.rand(len(x), ATTRIBUTES, generator=torch.Generator().manual_seed(0)) < 0.5, -1.0, 1.0)
    x = torch.cat([x, words.repeat(1, REPEATS)[:, None].expand(-1, x.shape[1], -1)], 2)
    own = Conditioning(*(target[labels] + push for target, push in zip(TARGETS, shift(words[:, 0]), strict=True)))
    settings = config(architecture="attributes")
    torch.manual_seed(0)
    adapter = Adapter(replace(SHAPE, audio_width=x.shape[2]), settings, TARGETS)
    train_adapter(adapter, x, labels, TARGETS, settings, 12, own)
    opposite = x.clone()
    opposite[..., -ATTRIBUTES * REPEATS :] *= -1
    for told, not_told, push in zip(adapt(adapter, x), adapt(adapter, opposite), shift(words[:, 0]), strict=True):
        assert ((told - not_told) * push).mean() > push.square().mean()  # of 2


def shift(words):
    """A change of both targets of each clip by a word that applies or does not (1 or -1) ``[N]``."""
    generator = torch.Generator().manual_seed(1)
    sizes = (0.3 * standardisation(target)[1] * torch.randn(target[0].shape, generator=generator) for target in TARGETS)
    return [words.reshape(-1, *[1] * size.ndim) * size for size in sizes]
