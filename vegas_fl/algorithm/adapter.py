"""The adapter: from an audio embedding to the two text inputs of FLUX.

Each branch first pools the audio tokens by attention with learned queries (PMA, Lee et al. 2019, "Set
Transformer", eq. 11; the latent array of Jaegle et al. 2021, "Perceiver", is the same idea) and then applies
an MLP to the pooled vectors, one for CLIP and T for T5. So the cost of the MLP does not grow with the number
of audio tokens.

Letters: B clips, S audio tokens of width D, P width of CLIP's pooled vector, T tokens of width C of T5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vegas_fl.algorithm.pooling import ATTRIBUTE_GAIN, ATTRIBUTE_WIDTH, ATTRIBUTES, LinearBranch, StatisticsBranch
from vegas_fl.config import AdapterConfig
from vegas_fl.core.errors import VegasError


class Conditioning(NamedTuple):
    """FLUX's two text inputs for B clips. The text targets of K classes have the same form, with K instead of B.

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
        """Split the targets of K classes: class → its target, clip ``[P]`` and t5 ``[T, C]``."""
        return {label: Conditioning(*rows) for label, *rows in zip(classes, *self, strict=True)}


@dataclass(frozen=True)
class AdapterShape:
    """Input and output shapes of an adapter, read from the models' configurations.

    Attributes
    ----------
    audio_tokens, audio_width : int
        S and D.
    clip_width : int
        P.
    t5_tokens, t5_width : int
        T and C.
    """

    audio_tokens: int
    audio_width: int
    clip_width: int
    t5_tokens: int
    t5_width: int


def standardisation(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale of the class targets of one branch.

    Prompts share most of their words ("a photo of"), so the targets have a large common part. An adapter has to
    learn the differences from it, and losses of the two branches are comparable only in units of these.

    Parameters
    ----------
    targets : Tensor [K, ...]
        The targets of K classes.

    Returns
    -------
    mean : Tensor [...]
        The common part.
    scale : Tensor []
        Root mean square of the differences from the mean. If all targets are equal (for example, one class):
        the root mean square of the targets; 1 if that is zero too.
    """
    mean = targets.mean(0)
    scale = targets.var(0, correction=0).mean().sqrt()
    if scale <= 1e-4 * torch.linalg.vector_norm(targets) * targets.numel() ** -0.5:  # rounding, not a difference
        scale = targets.square().mean().sqrt()
    return mean, torch.where(scale > 0, scale, torch.ones_like(scale))


class Branch(nn.Module):
    """Attention pooling to L latent vectors, then the same MLP on each.

    The output is ``mean + scale * MLP(...)``. Mean and scale are computed from the class targets
    (:func:`standardisation`), which are the same on every node, and are part of the state.

    Parameters
    ----------
    audio_width : int
        D, the width of an audio token.
    latents : int
        L, the number of output tokens: 1 for CLIP, T for T5.
    output_width : int
        O, the width of an output token: P for CLIP, C for T5.
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
        # A fixed standardisation would need statistics of all nodes' recordings; layer norm needs none.
        tokens = F.layer_norm(audio, audio.shape[-1:])
        # q . (K x) = (K^T q) . x: projecting the few queries is cheaper than projecting all audio tokens.
        query = torch.einsum("lhw,hwd->lhd", self.query, self.key) * self.query.shape[-1] ** -0.5
        weights = (tokens @ query.flatten(0, 1).T).softmax(1).unflatten(2, query.shape[:2])  # [B, S, L, H]
        if audio.shape[1] * self.query[0].numel() < weights[0].numel() + self.query.numel():  # S W < L (S H + W)
            value = torch.einsum("bsd,hdw->bshw", tokens, self.value)
            pooled = torch.einsum("bslh,bshw->blhw", weights, value)
        else:  # V applied to a mean is the mean of V applied: of the two orders, the cheaper
            mean = torch.einsum("bslh,bsd->blhd", weights, tokens)
            pooled = torch.einsum("blhd,hdw->blhw", mean, self.value)
        latent = self.query + pooled
        return self.mean + self.scale * self.mlp(latent.flatten(2))


class AttributesBranch(Branch):
    """:class:`Branch`, and a linear map of the measured attributes at the end of each token, which layer norm
    and pooling would hide. Its weights start at 0."""

    def __init__(self, audio_width: int, latents: int, output_width: int, config: AdapterConfig) -> None:
        super().__init__(audio_width - ATTRIBUTE_WIDTH, latents, output_width, config)
        self.attributes = nn.Parameter(torch.zeros(ATTRIBUTES, latents, output_width))

    def forward(self, audio: Tensor) -> Tensor:
        """``[B, S, D]`` to ``[B, L, O]``."""
        tokens, repeated = audio[..., :-ATTRIBUTE_WIDTH], audio[..., -ATTRIBUTE_WIDTH:]
        features = repeated.mean(1).unflatten(1, (-1, ATTRIBUTES)).mean(1)
        return super().forward(tokens) + self.scale * torch.tensordot(ATTRIBUTE_GAIN * features, self.attributes, 1)


BRANCHES = {"attention": Branch, "attributes": AttributesBranch, "statistics": StatisticsBranch, "linear": LinearBranch}
"""What pools the audio tokens, by ``adapter.architecture``."""


class Adapter(nn.Module):
    """Audio embedding ``[B, S, D]`` to :class:`Conditioning`. The branches ``clip`` and ``t5`` share no weights.

    Parameters
    ----------
    shape : AdapterShape
        Input and output shapes.
    config : AdapterConfig
        Inner widths.
    targets : Conditioning, optional
        Text targets of all K classes of the federation: clip [K, P], t5 [K, T, C]. They give the outputs' mean
        and scale. Not needed if a state dict is loaded afterwards.

    Raises
    ------
    VegasError
        If the attention's width is not a multiple of its heads.
    """

    def __init__(self, shape: AdapterShape, config: AdapterConfig, targets: Conditioning | None = None) -> None:
        super().__init__()
        if config.width % config.heads:
            raise VegasError(
                f"adapter.width={config.width} is not a multiple of adapter.heads={config.heads}; choose one that is"
            )
        self.shape = shape
        branch: Any = BRANCHES[config.architecture]
        self.clip: Branch | StatisticsBranch | LinearBranch = branch(shape.audio_width, 1, shape.clip_width, config)
        self.t5: Branch | StatisticsBranch | LinearBranch = branch(
            shape.audio_width, shape.t5_tokens, shape.t5_width, config
        )
        if targets is not None:
            self.fit_targets(targets)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.t5.mean.device

    def fit_targets(self, targets: Conditioning) -> None:
        """Set the outputs' mean and scale to those of the class targets: clip [K, P], t5 [K, T, C]."""
        for branch, target in zip((self.clip, self.t5), targets, strict=True):
            mean, scale = standardisation(target.float())
            branch.mean.copy_(mean.reshape(branch.mean.shape))
            branch.scale.copy_(scale)

    def set_readout(self, weights: Tensor, targets: Conditioning) -> None:
        """Become the closed-form adapter of ``weights`` [2 D + 1, K]; the architecture has to be ``linear``."""
        for branch, target in zip((self.clip, self.t5), targets, strict=True):
            assert isinstance(branch, LinearBranch)
            branch.set_readout(weights, target.reshape(len(target), *branch.mean.shape))

    def forward(self, audio: Tensor) -> Conditioning:
        """``[B, S, D]`` to clip ``[B, P]`` and t5 ``[B, T, C]``."""
        return Conditioning(self.clip(audio).squeeze(1), self.t5(audio))
