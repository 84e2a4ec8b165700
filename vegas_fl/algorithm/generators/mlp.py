"""A generator that was trained elsewhere: an MLP from one latent vector to a whole embedding, z ~ N(0, I).

It is only ever imported (:mod:`vegas_fl.migration.checkpoints`): a flattened MLP grows with S * D, and N(0, I) draws
codes that no clip has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vegas_fl.algorithm.generators.base import Sampler
from vegas_fl.config import MLPConfig

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "leaky_relu_0.2": functools.partial(nn.LeakyReLU, 0.2),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class MLPSampler(Sampler):
    """The decoder; its output's units are those of the embeddings.

    Parameters
    ----------
    tokens, width : int
        S and D.
    config : MLPConfig
        Widths, the first that of the latent vector, the last S * D; and the function between the layers.
    """

    def __init__(self, tokens: int, width: int, config: MLPConfig) -> None:
        super().__init__(tokens, width)
        pairs = zip(config.widths, config.widths[1:], strict=False)
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairs)
        self._width = config.widths[0]
        self._activation = ACTIVATIONS[config.activation]()

    @torch.no_grad()
    def centre(self, count: int = 1000) -> None:
        """Let ``mean`` be what it says, the mean embedding, of ``count`` samples; what is drawn stays as it was."""
        last = self._last
        hidden = self._hidden(count, torch.Generator().manual_seed(0)).mean(0)
        mean = last(hidden).unflatten(0, (self.tokens, -1)).mean(0)
        last.bias.sub_(mean.repeat(self.tokens))
        self.mean.add_(mean)

    @torch.no_grad()
    def sample(self, count: int, *, generator: torch.Generator) -> Tensor:
        """``[count, S, D]``: see :meth:`Sampler.sample`."""
        x = self._last(self._hidden(count, generator))
        return self.destandardised(x.unflatten(1, (self.tokens, -1)))

    @property
    def _last(self) -> nn.Linear:
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        return last

    def _hidden(self, count: int, generator: torch.Generator) -> Tensor:
        """What the last layer is given: ``[count, H]``."""
        x = torch.randn(count, self._width, generator=generator)
        for layer in self.layers[:-1]:
            x = self._activation(layer(x))
        return x
