"""The adapter: from an audio embedding to the two text inputs of FLUX.

Each branch first pools the audio tokens by attention with learned queries (PMA, Lee et al. 2019, "Set
Transformer", eq. 11; the latent array of Jaegle et al. 2021, "Perceiver", is the same idea) and only then
applies an MLP, to the one (CLIP) or ``T`` (T5) latents: its cost does not grow with the number of audio
tokens.

Letters: B clips, S audio tokens of width D, P width of CLIP's pooled vector, T tokens of width C of T5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vegas_fl.config import AdapterConfig
from vegas_fl.core.errors import VegasError


class Conditioning(NamedTuple):
    """FLUX's two text inputs for B clips; or, stacked over K classes, the text targets.

    Attributes
    ----------
    clip : Tensor [B, P]
        CLIP's pooled text embedding (``pooled_prompt_embeds``).
    t5 : Tensor [B, T, C]
        T5's token embeddings (``prompt_embeds``).
    """

    clip: Tensor
    t5: Tensor

    def by_class(self, classes: Sequence[str]) -> dict[str, Conditioning]:
        """Of K text targets, each by its class: clip ``[P]`` and t5 ``[T, C]``."""
        return {label: Conditioning(*rows) for label, *rows in zip(classes, *self, strict=True)}


@dataclass(frozen=True)
class AdapterShape:
    """The widths an adapter joins; read from the models' configs."""

    audio_tokens: int
    audio_width: int
    clip_width: int
    t5_tokens: int
    t5_width: int


def standardisation(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale of the class targets of one branch.

    Prompts share most of their words ("a photo of"), so the targets share a large common part; what an
    adapter has to learn is the rest, and a loss is comparable between branches only in units of it.

    Parameters
    ----------
    targets : Tensor [K, ...]
        One target a row.

    Returns
    -------
    mean : Tensor [...]
        The common part.
    scale : Tensor []
        Root mean square of what is left. Rows that are all equal (one class) leave nothing: then the root
        mean square of the targets themselves, and 1 if that is zero too.
    """
    mean = targets.mean(0)
    size = targets.square().mean().sqrt()
    scale = targets.var(0, correction=0).mean().sqrt()
    if scale <= 1e-4 * size:  # rounding, not a difference between rows
        scale = size
    return mean, torch.where(scale > 0, scale, torch.ones_like(scale))


class Branch(nn.Module):
    """Attention pooling to ``latents`` vectors, then an MLP on each.

    The output is ``mean + scale * MLP(...)``; both constants come from the class targets, which every
    node holds, and travel with the weights.

    Parameters
    ----------
    audio_width : int
        D, the width of an audio token.
    latents : int
        L, the number of output tokens.
    output_width : int
        O, the width of an output token.
    config : AdapterConfig
        Width and heads of the attention, hidden width of the MLP.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, audio_width: int, latents: int, output_width: int, config: AdapterConfig) -> None:
        super().__init__()
        head = config.width // config.heads
        self.query = nn.Parameter(torch.randn(latents, config.heads, head))
        self.key = nn.Parameter(torch.randn(config.heads, head, audio_width) * audio_width**-0.5)
        self.value = nn.Parameter(torch.randn(config.heads, audio_width, head) * audio_width**-0.5)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, config.hidden), nn.GELU(), nn.Linear(config.hidden, output_width)
        )
        self.register_buffer("mean", torch.zeros(latents, output_width))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, audio: Tensor) -> Tensor:
        """``[B, S, D]`` to ``[B, L, O]``."""
        # A fixed standardisation would need statistics of all nodes' recordings; this needs none.
        tokens = F.layer_norm(audio, audio.shape[-1:])
        # q . (K x) = (K^T q) . x: it is cheaper to project few queries than all audio tokens.
        query = torch.einsum("lhw,hwd->lhd", self.query, self.key) * self.query.shape[-1] ** -0.5
        weights = (tokens @ query.flatten(0, 1).T).softmax(1).unflatten(2, query.shape[:2])  # [B, S, L, H]
        if audio.shape[1] < query.shape[0] * query.shape[1]:
            value = torch.einsum("bsd,hdw->bshw", tokens, self.value)
            pooled = torch.einsum("bslh,bshw->blhw", weights, value)
        else:  # and V applied to a mean is the mean of V applied: cheaper when the means are fewer
            mean = torch.einsum("bslh,bsd->blhd", weights, tokens)
            pooled = torch.einsum("blhd,hdw->blhw", mean, self.value)
        latent = self.query + pooled
        return self.mean + self.scale * self.mlp(latent.flatten(2))


class Adapter(nn.Module):
    """Audio embedding ``[B, S, D]`` to :class:`Conditioning`; branches ``clip`` and ``t5`` share nothing.

    Parameters
    ----------
    shape : AdapterShape
        Widths on both sides.
    config : AdapterConfig
        Inner widths.
    targets : Conditioning, optional
        Text targets stacked over all classes of the federation (clip [K, P], t5 [K, T, C]). The adapter
        starts from their mean and learns in their scale. Not needed where a state dict is loaded
        afterwards.

    Raises
    ------
    VegasError
        If the attention's width cannot be split into its heads.
    """

    def __init__(self, shape: AdapterShape, config: AdapterConfig, targets: Conditioning | None = None) -> None:
        super().__init__()
        if config.width % config.heads:
            raise VegasError(
                f"adapter.width={config.width} cannot be split into adapter.heads={config.heads}: "
                "choose a width that is a multiple of the heads."
            )
        self.shape = shape
        self.clip = Branch(shape.audio_width, 1, shape.clip_width, config)
        self.t5 = Branch(shape.audio_width, shape.t5_tokens, shape.t5_width, config)
        if targets is not None:
            self.fit_targets(targets)

    def fit_targets(self, targets: Conditioning) -> None:
        """Take the outputs' mean and scale from the stacked class targets."""
        for branch, target in zip((self.clip, self.t5), targets, strict=True):
            mean, scale = standardisation(target.float())
            branch.mean.copy_(mean.reshape(branch.mean.shape))
            branch.scale.copy_(scale)

    def forward(self, audio: Tensor) -> Conditioning:
        """``[B, S, D]`` to clip ``[B, P]`` and t5 ``[B, T, C]``."""
        return Conditioning(self.clip(audio).squeeze(1), self.t5(audio))


def megabytes(module: nn.Module) -> float:
    """Size of a module's state in float32, in MB (10**6 bytes)."""
    return 4e-6 * math.fsum(tensor.numel() for tensor in module.state_dict().values())
