"""Generators of audio embeddings, one for each class; ``config.name`` chooses the kind.

Every kind is a model that stays on its node and holds a :class:`Sampler` as ``.sampler``, which is shared.
"""

from collections.abc import Sequence

from torch import Tensor

from vegas_fl.algorithm.generators.base import Sampler, require_clips
from vegas_fl.algorithm.generators.gmm import GMM, GMMSampler, fit_gmm
from vegas_fl.algorithm.generators.mlp import MLPSampler
from vegas_fl.algorithm.generators.vae import VAE, VAESampler, train_vae
from vegas_fl.config import GeneratorConfig, GMMConfig, MLPConfig
from vegas_fl.core.errors import VegasError

__all__ = ["Sampler", "build_sampler", "train_generator", "train_generators"]


def build_sampler(tokens: int, width: int, config: GeneratorConfig) -> Sampler:
    """An untrained sampler of ``[S, D]`` embeddings, for loading a state dict."""
    if isinstance(config, GMMConfig):
        return GMMSampler(tokens, width, config)
    if isinstance(config, MLPConfig):
        return MLPSampler(tokens, width, config)
    return VAESampler(tokens, width, config)


def train_generators(
    clips: Sequence[Tensor], config: GeneratorConfig, device: str = "cpu"
) -> Sequence[tuple[VAE | GMM, dict[str, float]]]:
    """Train the generators of classes together; more than one class only with a VAE.

    Draws come from torch's global generator: call inside :func:`vegas_fl.core.seeds.reproducible`.

    Parameters
    ----------
    clips : sequence of Tensor [N, S, D]
        Audio embeddings of each class's training clips, N >= 1.
    config : GeneratorConfig
        Chooses the kind.
    device : str
        Where a VAE is trained; the mixture is fitted on the CPU.

    Returns
    -------
    sequence of (VAE or GMM, dict)
        For each class, its generator, in evaluation mode and on the CPU, and metrics of its training: ``clips`` (N),
        ``nll`` and others, depending on the kind.

    Raises
    ------
    VegasError
        If there is a class without clips, or with values that are not finite, or generators of this kind are not
        trained.
    """
    for x in clips:
        require_clips(x)
    if isinstance(config, GMMConfig):
        return [fit_gmm(x, config) for x in clips]
    if isinstance(config, MLPConfig):
        raise VegasError("generator=mlp is only for imported generators; use generator=vae or gmm to train one")
    return train_vae(clips, config, device)


def train_generator(x: Tensor, config: GeneratorConfig, device: str = "cpu") -> tuple[VAE | GMM, dict[str, float]]:
    """:func:`train_generators` for the clips ``x`` [N, S, D] of one class."""
    return train_generators([x], config, device)[0]
