"""Generators of audio embeddings, one a class; ``config.name`` chooses the kind.

Every kind has the same two halves: a *sampler* (an ``nn.Module`` with ``sample(count, generator=...)``), which
is all that leaves a node, and a model around it, which holds the sampler as ``.sampler`` and stays.
"""

from __future__ import annotations

from torch import Tensor

from vegas_fl.config import GeneratorConfig
from vegas_fl.generators.vae import VAE, Sampler, train_vae


def build_sampler(tokens: int, width: int, config: GeneratorConfig) -> Sampler:
    """An untrained sampler of ``[S, D]`` embeddings: what a state dict is checked against and loaded into."""
    return Sampler(tokens, width, config)


def train_generator(x: Tensor, config: GeneratorConfig) -> tuple[VAE, dict[str, float]]:
    """Train the generator of one class on its embeddings ``x`` [N, S, D]; the model and figures of its training.

    Draws come from torch's global generator: call inside :func:`vegas_fl.seeds.reproducible`.
    """
    return train_vae(x, config)
