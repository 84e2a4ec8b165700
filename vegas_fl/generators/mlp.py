"""A generator that was trained elsewhere: an MLP from one latent vector to a whole embedding, z ~ N(0, I).

It is only ever imported (:mod:`vegas_fl.importing.checkpoints`): a flattened MLP grows with S * D, and N(0, I) draws
codes that no clip has.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vegas_fl.config import MLPConfig
from vegas_fl.generators.base import Sampler

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
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
        self._activation = ACTIVATIONS[config.activation]()

    @torch.no_grad()
    def sample(self, count: int, *, generator: torch.Generator) -> Tensor:
        """``[count, S, D]``: see :meth:`Sampler.sample`."""
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        x = torch.randn(count, first.in_features, generator=generator)
        for position, layer in enumerate(self.layers):
            x = layer(self._activation(x) if position else x)
        return self.destandardised(x.unflatten(1, (self.tokens, -1)))
