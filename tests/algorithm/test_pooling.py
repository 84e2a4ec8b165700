"""Adapters that pool statistics: sizes at FLUX.1's widths, and what they depend on."""

from __future__ import annotations

import pytest
import torch

from tests.support.adapters import SHAPE, TARGETS, clips, config
from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Adapter, AdapterShape
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
