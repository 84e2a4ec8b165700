"""Generators of audio embeddings, one for each class; ``config.name`` chooses the kind.

Every kind is a model that stays on its node and holds a :class:`Sampler` as ``.sampler``, which is shared.
"""

from torch import Tensor

from vegas_fl.algorithm.generators.base import Sampler, require_clips
from vegas_fl.algorithm.generators.gmm import GMM, GMMSampler, fit_gmm
from vegas_fl.algorithm.generators.mlp import MLPSampler
from vegas_fl.algorithm.generators.vae import VAE, VAESampler, train_vae
from vegas_fl.config import GeneratorConfig, GMMConfig, MLPConfig
from vegas_fl.core.errors import VegasError

__all__ = ["Sampler", "build_sampler", "train_generator"]


def build_sampler(tokens: int, width: int, config: GeneratorConfig) -> Sampler:
    """An untrained sampler of ``[S, D]`` embeddings, for loading a state dict."""
    if isinstance(config, GMMConfig):
        return GMMSampler(tokens, width, config)
    if isinstance(config, MLPConfig):
        return MLPSampler(tokens, width, config)
    return VAESampler(tokens, width, config)


def train_generator(x: Tensor, config: GeneratorConfig, device: str = "cpu") -> tuple[VAE | GMM, dict[str, float]]:
    """Train the generator of one class.

    Draws come from torch's global generator: call inside :func:`vegas_fl.core.seeds.reproducible`.

    Parameters
    ----------
    x : Tensor [N, S, D]
        Audio embeddings of the class's training clips, N >= 1.
    config : GeneratorConfig
        Chooses the kind.
    device : str
        Where a VAE is trained; the mixture is fitted on the CPU.

    Returns
    -------
    model : VAE or GMM
        In evaluation mode, on the CPU.
    metrics : dict
        Of its training: ``clips`` (N), ``nll`` and others, depending on the kind.

    Raises
    ------
    VegasError
        If ``x`` is empty or not finite, or generators of this kind are not trained.
    """
    require_clips(x)
    if isinstance(config, GMMConfig):
        return fit_gmm(x, config)
    if isinstance(config, MLPConfig):
        raise VegasError("generator=mlp is only for imported generators; use generator=vae or gmm to train one")
    return train_vae(x, config, device)
