"""The adapter's branches that pool statistics of the audio tokens: their mean and deviation over time.

Letters: B clips, S audio tokens of width D, L output tokens of width O.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vegas_fl.algorithm.analytic import token_statistics
from vegas_fl.config import AdapterConfig

ATTRIBUTES, REPEATS = 6, 16
"""Features of a clip's measured attributes, and how often they are repeated at the end of each token."""
ATTRIBUTE_WIDTH = ATTRIBUTES * REPEATS

ATTRIBUTE_GAIN = 8.0
"""Factor of these features: their weights are learnt faster than others, in the few steps of a node."""

SMALLEST_VARIANCE = 1e-6
"""Added to variances: the root has no finite slope at 0."""


def mean_and_deviation(tokens: Tensor) -> Tensor:
    """``[B, S, W]`` to the mean and deviation over S of each feature ``[B, 2 W]``."""
    variance = tokens.var(1, correction=0)
    return torch.cat([tokens.mean(1), (variance + SMALLEST_VARIANCE).sqrt()], 1)


class StatisticsBranch(nn.Module):
    """A narrow MLP on every audio token, mean and deviation over tokens, then an MLP for each of L output tokens.

    What is non-linear before pooling keeps sounds apart that have the same mean. The output MLP is shared by the output
    tokens, which differ in a learned gain and offset of its input, so its size does not depend on L.

    Parameters
    ----------
    audio_width, latents, output_width : int
        D, L and O: L is 1 for CLIP, T for T5.
    config : AdapterConfig
        Widths: of the MLP on tokens, of the pooled vector, and of the output MLP's hidden layer.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, audio_width: int, latents: int, output_width: int, config: AdapterConfig) -> None:
        super().__init__()
        narrow = config.token_width
        self.tokens = nn.Sequential(nn.Linear(audio_width, narrow), nn.GELU(), nn.Linear(narrow, narrow), nn.GELU())
        self.pooled = nn.Linear(2 * narrow, config.width)
        self.gain = nn.Parameter(torch.ones(latents, config.width))
        self.offset = nn.Parameter(torch.zeros(latents, config.width))
        nn.init.normal_(self.gain, 1.0, 0.5 if latents > 1 else 0.0)
        nn.init.normal_(self.offset, 0.0, 0.5 if latents > 1 else 0.0)
        self.mlp = nn.Sequential(nn.GELU(), nn.Linear(config.width, config.hidden), nn.GELU())
        self.output = nn.Linear(config.hidden, output_width)
        self.register_buffer("mean", torch.zeros(latents, output_width))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, audio: Tensor) -> Tensor:
        """``[B, S, D]`` to ``[B, L, O]``."""
        tokens = self.tokens(F.layer_norm(audio, audio.shape[-1:]))
        latent = self.pooled(mean_and_deviation(tokens))[:, None] * self.gain + self.offset
        return self.mean + self.scale * self.output(self.mlp(latent))


class LinearBranch(nn.Module):
    """The closed-form adapter's branch (:mod:`vegas_fl.algorithm.analytic`): statistics of a clip, linear scores of
    classes, and the sum of the classes' targets by score. It is set, not trained.

    Parameters
    ----------
    audio_width, latents, output_width : int
        D, L and O.
    config : AdapterConfig
        ``hidden``: the most classes; columns without a class are 0.
    """

    mean: Tensor
    scale: Tensor
    readout: Tensor
    directions: Tensor

    def __init__(self, audio_width: int, latents: int, output_width: int, config: AdapterConfig) -> None:
        super().__init__()
        self.register_buffer("readout", torch.zeros(2 * audio_width + 1, config.hidden))
        self.register_buffer("directions", torch.zeros(config.hidden, latents, output_width))
        self.register_buffer("mean", torch.zeros(latents, output_width))
        self.register_buffer("scale", torch.ones(()))

    def set_readout(self, weights: Tensor, targets: Tensor) -> None:
        """``weights`` [2 D + 1, K] from statistics to scores, and the ``targets`` [K, L, O] of the classes."""
        self.readout.zero_()[:, : weights.shape[1]] = weights
        self.directions.zero_()[: len(targets)] = targets - self.mean

    def forward(self, audio: Tensor) -> Tensor:
        """``[B, S, D]`` to ``[B, L, O]``."""
        scores = F.pad(token_statistics(audio), (0, 1), value=1.0) @ self.readout
        return self.mean + torch.tensordot(scores, self.directions, 1)
