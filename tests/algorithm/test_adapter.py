"""The adapter: shapes, sizes at FLUX.1's widths, and starting from the targets' mean."""

from __future__ import annotations

import pytest
import torch

from tests.support.adapters import SHAPE, config
from vegas_fl.algorithm.adapter import (
    Adapter,
    AdapterShape,
    Branch,
    Conditioning,
    standardisation,
)
from vegas_fl.core.errors import VegasError

FLUX = AdapterShape(audio_tokens=1214, audio_width=768, clip_width=768, t5_tokens=17, t5_width=4096)


def test_an_adapter_turns_audio_tokens_into_both_text_inputs():
    outputs = Adapter(SHAPE, config())(torch.randn(3, 5, 24))
    assert outputs.clip.shape == (3, 6)
    assert outputs.t5.shape == (3, 4, 8)


def test_sizes_at_the_widths_of_flux():
    adapter = Adapter(FLUX, config(width=1024, heads=8, hidden=2048))
    clip, t5 = (sum(4e-6 * x.numel() for x in branch.state_dict().values()) for branch in (adapter.clip, adapter.t5))
    assert 20 <= clip <= 30  # MB in float32
    assert 45 <= t5 <= 55


def test_the_branches_share_nothing_and_make_up_the_whole_state():
    adapter = Adapter(SHAPE, config())
    parts = {f"{name}.{key}" for name in ("clip", "t5") for key in getattr(adapter, name).state_dict()}
    assert parts == set(adapter.state_dict())
    adapter(torch.randn(2, 5, 24)).clip.sum().backward()
    assert all(parameter.grad is None for parameter in adapter.t5.parameters())


@pytest.mark.parametrize("tokens", [1, 3, 40])
def test_both_orders_of_the_value_projection_are_attention(tokens):
    """Few audio tokens are projected first, many are pooled first; the textbook formula gives the same."""
    branch = Branch(24, 4, 8, config())
    audio = torch.randn(2, tokens, 24)
    x = torch.nn.functional.layer_norm(audio, (24,))
    query = branch.query.transpose(0, 1).expand(2, -1, -1, -1)
    key = torch.einsum("bsd,hwd->bhsw", x, branch.key)
    value = torch.einsum("bsd,hdw->bhsw", x, branch.value)
    pooled = torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
    wanted = branch.mlp((branch.query + pooled).flatten(2))
    assert torch.allclose(branch(audio), wanted, atol=1e-5)


def test_loudness_does_not_matter():
    adapter, audio = Adapter(SHAPE, config()), torch.randn(2, 5, 24)
    for quiet, loud in zip(adapter(audio), adapter(3 * audio + 1), strict=True):
        assert torch.allclose(quiet, loud, atol=1e-4)


def test_an_adapter_starts_from_the_mean_of_the_targets():
    targets = Conditioning(100 + torch.randn(10, 6), 100 + torch.randn(10, 4, 8))
    adapter = Adapter(SHAPE, config(), targets)
    for output, target in zip(adapter(torch.randn(2, 5, 24)), targets, strict=True):
        assert (output - target.mean(0)).abs().max() < 5
    fresh = Adapter(SHAPE, config())
    fresh.load_state_dict(adapter.state_dict())
    assert torch.equal(fresh.t5.mean, targets.t5.mean(0))


@pytest.mark.parametrize(
    ("targets", "scale"),
    [
        (torch.tensor([[1.0, 1.0], [3.0, 3.0]]), 1.0),
        (torch.tensor([[2.0, 2.0], [2.0, 2.0]]), 2.0),
        (torch.tensor([[3.0, 3.0]]), 3.0),
        (torch.zeros(1, 2), 1.0),
    ],
)
def test_the_scale_is_the_spread_or_else_the_size_or_else_one(targets, scale):
    assert standardisation(targets)[1].item() == pytest.approx(scale)


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(VegasError, match=r"adapter\.width=16 .* adapter\.heads=3"):
        Adapter(SHAPE, config(heads=3))
