"""Generators of audio embeddings, one a class; ``config.name`` chooses the kind.

Every kind has the same two halves: a :class:`Sampler`, which is all that leaves a node, and a model around it,
which holds the sampler as ``.sampler`` and stays.
"""

from __future__ import annotations

from torch import Tensor

from vegas_fl.algorithm.generators.base import Sampler
from vegas_fl.algorithm.generators.gmm import GMM, GMMSampler, fit_gmm
from vegas_fl.algorithm.generators.mlp import MLPSampler
from vegas_fl.algorithm.generators.vae import VAE, VAESampler, train_vae
from vegas_fl.config import GeneratorConfig, GMMConfig, MLPConfig
from vegas_fl.core.errors import VegasError

__all__ = ["Sampler", "build_sampler", "train_generator"]


def build_sampler(tokens: int, width: int, config: GeneratorConfig) -> Sampler:
    """An untrained sampler of ``[S, D]`` embeddings: what a state dict is checked against and loaded into."""
    if isinstance(config, GMMConfig):
        return GMMSampler(tokens, width, config)
    if isinstance(config, MLPConfig):
        return MLPSampler(tokens, width, config)
    return VAESampler(tokens, width, config)


def train_generator(x: Tensor, config: GeneratorConfig) -> tuple[VAE | GMM, dict[str, float]]:
    """Train the generator of one class on its embeddings ``x`` [N, S, D]; the model and figures of its training.

    Draws come from torch's global generator: call inside :func:`vegas_fl.core.seeds.reproducible`.
    """
    if isinstance(config, GMMConfig):
        return fit_gmm(x, config)
    if isinstance(config, MLPConfig):
        raise VegasError("generator.name=mlp is for imported generators, it is never trained; use generator=vae or gmm")
    return train_vae(x, config)
