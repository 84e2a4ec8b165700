"""What all kinds of generators share: the sampler, which is the part that leaves a node, and its standardisation."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError

STD_FLOOR = 0.05
"""Added to each feature's deviation, as a share of the typical deviation, before dividing by it: in a constant feature
(a dead unit of the encoder), rounding errors would otherwise become signal."""


def require_clips(x: Tensor) -> None:
    """Raise a VegasError unless ``x`` is [N, S, D], N >= 1, and finite."""
    if x.ndim != 3 or len(x) == 0:
        raise VegasError(
            f"Expected embeddings [N, S, D] of at least one clip to train a generator; got shape {list(x.shape)}"
        )
    if not bool(torch.isfinite(x).all()):
        raise VegasError("Expected finite embeddings to train a generator; some values are NaN or infinite")


class Sampler(nn.Module, ABC):
    """Draws audio embeddings of one class. The only part of a generator that leaves its node.

    Its network models standardised embeddings. The mean and deviation of each feature are part of the state.

    Parameters
    ----------
    tokens, width : int
        S and D of the embeddings.
    """

    mean: Tensor
    std: Tensor
    rectified: Tensor

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("rectified", torch.zeros(()))

    @torch.no_grad()
    def fit_standardisation(self, x: Tensor) -> Tensor:
        """Compute each feature's mean and deviation over ``x`` [N, S, D], and whether x is never negative.

        Returns
        -------
        Tensor [N, S, D]
            Standardised ``x``.
        """
        spread = x.std((0, 1), correction=0)
        typical = spread.square().mean().sqrt()
        self.mean.copy_(x.mean((0, 1)))
        self.std.copy_(spread + STD_FLOOR * torch.where(typical > 0, typical, torch.ones_like(typical)))
        self.rectified.fill_(float(x.min() >= 0))  # outputs of a ReLU: samples are clipped at 0 too
        return (x - self.mean) / self.std

    def destandardised(self, y: Tensor) -> Tensor:
        """Standardised embeddings ``[..., D]`` to the audio encoder's units."""
        x = y * self.std.to(y) + self.mean.to(y)
        return x.relu_() if self.rectified else x

    def sample(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw ``count`` audio embeddings; on the CPU, if the device runs out of memory.

        Parameters
        ----------
        count : int
            Number of embeddings.
        generator : torch.Generator
            The only source of randomness: the same state gives the same samples.

        Returns
        -------
        Tensor [count, S, D]
            On the CPU, where all draws are made, whatever device the sampler computes on.
        """
        draws = generator.get_state()

        def run(_: int, device: str) -> Tensor:
            generator.set_state(draws)
            return self.to(device)._drawn(count, generator)

        return devices.sparing(run, 1, str(self.mean.device), "a generator")

    @abstractmethod
    def _drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """What :meth:`sample` returns."""
