"""An imported generator: an MLP from a latent vector z ~ N(0, I) to a whole embedding.

Generators of this kind are imported (:mod:`vegas_fl.migration.checkpoints`), never trained here: the MLP grows with
S * D, and N(0, I) draws codes that no clip has.
"""

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
    """The decoder; its outputs are in the units of the embeddings.

    Parameters
    ----------
    tokens, width : int
        S and D.
    config : MLPConfig
        Widths of the layers, from that of the latent vector to S * D, and the activation between them.
    """

    def __init__(self, tokens: int, width: int, config: MLPConfig) -> None:
        super().__init__(tokens, width)
        pairs = zip(config.widths, config.widths[1:], strict=False)
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairs)
        self._width = config.widths[0]
        self._activation = ACTIVATIONS[config.activation]()

    @torch.no_grad()
    def centre(self, count: int = 1000) -> None:
        """Set ``mean`` to the mean embedding, estimated from ``count`` samples, without changing what is drawn."""
        last = self._last
        hidden = self._hidden(count, torch.Generator().manual_seed(0)).mean(0)
        mean = last(hidden).unflatten(0, (self.tokens, -1)).mean(0)
        last.bias.sub_(mean.repeat(self.tokens))
        self.mean.add_(mean)

    @torch.no_grad()
    def _drawn(self, count: int, generator: torch.Generator) -> Tensor:
        x = self._last(self._hidden(count, generator)).cpu()
        return self.destandardised(x.unflatten(1, (self.tokens, -1)))

    @property
    def _last(self) -> nn.Linear:
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        return last

    def _hidden(self, count: int, generator: torch.Generator) -> Tensor:
        """Inputs of the last layer ``[count, H]`` for random latent vectors."""
        x = torch.randn(count, self._width, generator=generator).to(self.mean)
        for layer in self.layers[:-1]:
            x = self._activation(layer(x))
        return x
