"""The baseline generator: a Gaussian mixture over the audio embeddings of one class.

FedPFT (Beitollahi et al. 2024, "Parametric feature transfer: one-shot federated learning with foundation
models", section 4) fits a mixture per class to a foundation model's features and sends its parameters. Here a
feature is a whole standardised embedding, its S tokens concatenated. The weights, and K means and variances of S * D
numbers each, leave the node. A component fitted to a single clip reveals that clip.

Letters: N clips, S audio tokens of width D, K components.
"""

import torch
from torch import Tensor, nn

from vegas_fl.algorithm.generators.base import Sampler
from vegas_fl.config import GMMConfig

VARIANCE_FLOOR = 1e-2
"""Added to every variance of standardised values: with a single clip, a component's variance would be 0."""


class GMMSampler(Sampler):
    """A mixture with weights ``[K]``, means and deviations ``[K, S, D]``.

    Parameters
    ----------
    tokens, width : int
        S and D.
    config : GMMConfig
        Number of components.
    """

    weights: Tensor
    means: Tensor
    deviations: Tensor

    def __init__(self, tokens: int, width: int, config: GMMConfig) -> None:
        super().__init__(tokens, width)
        self.register_buffer("weights", torch.full((config.components,), 1 / config.components))
        self.register_buffer("means", torch.zeros(config.components, tokens, width))
        self.register_buffer("deviations", torch.ones(config.components, tokens, width))

    @torch.no_grad()
    def _drawn(self, count: int, generator: torch.Generator) -> Tensor:
        component = torch.multinomial(self.weights.cpu(), count, replacement=True, generator=generator)
        x = torch.randn(count, *self.means.shape[1:], generator=generator)
        for row, k in zip(x, component.tolist(), strict=True):  # in place: no second [count, S, D] in memory
            row.mul_(self.deviations[k].to(row)).add_(self.means[k].to(row))
        return self.destandardised(x)


class GMM(nn.Module):
    """A :class:`GMMSampler`: a mixture has no other part, so nothing stays on the node only."""

    def __init__(self, tokens: int, width: int, config: GMMConfig) -> None:
        super().__init__()
        self.sampler = GMMSampler(tokens, width, config)


def fit_gmm(x: Tensor, config: GMMConfig) -> tuple[GMM, dict[str, float]]:
    """Fit the mixture of one class to ``x`` [N, S, D] by expectation maximisation, with at most N components.

    See :func:`~vegas_fl.algorithm.generators.train_generator`. The metrics: ``nll`` (nats per value of standardised
    x), ``components`` (the number used) and ``clips``.
    """
    gmm = GMM(x.shape[1], x.shape[2], config)
    sampler = gmm.sampler
    rows = sampler.fit_standardisation(x).flatten(1)
    used = min(config.components, len(x))
    seed = int(torch.randint(2**31, ()))
    if len(x) == 1:  # scikit-learn needs two rows
        weights, means, variances, nll = torch.ones(1), rows, torch.full_like(rows, VARIANCE_FLOOR), 0.0
    else:
        from sklearn.mixture import GaussianMixture  # imported here: it takes 1.5 s, and few processes need it

        mixture = GaussianMixture(
            used, covariance_type=config.covariance, reg_covar=VARIANCE_FLOOR, random_state=seed
        ).fit(rows.double().numpy())
        weights, means = torch.as_tensor(mixture.weights_), torch.as_tensor(mixture.means_)
        variances = torch.as_tensor(mixture.covariances_)  # diag: [K, S * D]; spherical: [K]
        variances = variances if config.covariance == "diag" else variances[:, None].expand(means.shape)
        nll = -mixture.score(rows.double().numpy()) / rows.shape[1]
    sampler.weights.zero_()
    sampler.weights[:used] = weights.float()
    sampler.means[:used] = means.float().unflatten(1, x.shape[1:])
    sampler.deviations[:used] = variances.sqrt().float().unflatten(1, x.shape[1:])
    return gmm.eval(), {"nll": nll, "components": used, "clips": len(x)}
