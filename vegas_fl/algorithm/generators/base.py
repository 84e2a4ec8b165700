"""What every kind of generator has in common: the half that leaves a node, and its units."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vegas_fl.core.errors import VegasError

STD_FLOOR = 0.05
"""Added to each feature's deviation, as a share of the typical one, before dividing by it: a feature that
is constant (a dead unit of the encoder) would otherwise turn rounding errors into signal."""


def require_clips(x: Tensor) -> None:
    """Raise a VegasError unless ``x`` is [N, S, D], N >= 1, and finite."""
    if x.ndim != 3 or len(x) == 0:
        raise VegasError(
            f"A generator is trained on embeddings [N, S, D] of at least one clip, not on {list(x.shape)}."
        )
    if not bool(torch.isfinite(x).all()):
        raise VegasError("The embeddings a generator is to be trained on have values that are not finite.")


class Sampler(nn.Module, ABC):
    """Draws audio embeddings of one class: what leaves the node.

    Works in standardised embeddings; each feature's mean and deviation are part of its state.

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
        """Take each feature's mean and deviation from ``x`` [N, S, D], and whether x is never negative.

        Returns
        -------
        Tensor [N, S, D]
            ``x``, standardised.
        """
        spread = x.std((0, 1), correction=0)
        typical = spread.square().mean().sqrt()
        self.mean.copy_(x.mean((0, 1)))
        self.std.copy_(spread + STD_FLOOR * torch.where(typical > 0, typical, torch.ones_like(typical)))
        self.rectified.fill_(float(x.min() >= 0))  # features of a ReLU: samples are clipped at 0 as well
        return (x - self.mean) / self.std

    def destandardised(self, y: Tensor) -> Tensor:
        """Standardised embeddings ``[..., D]`` back in the encoder's units."""
        x = y * self.std + self.mean
        return x.relu_() if self.rectified else x

    @abstractmethod
    def sample(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw ``count`` audio embeddings.

        Parameters
        ----------
        count : int
            Number of embeddings.
        generator : torch.Generator
            The only source of randomness: same state, same samples.

        Returns
        -------
        Tensor [count, S, D]
        """
