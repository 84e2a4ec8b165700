"""Membership inference: what a generator or an adapter tells of the clips it was trained on.

The attacker has what left a node (white box) and a clip, knows how clips vary, and guesses whether the clip was trained
on. Every attack gives each clip a score, higher for likelier members. What scores are worth is measured in
:mod:`vegas_fl.algorithm.leakage`.

Letters: N clips, S audio tokens of width D, M samples.
"""

import torch
from torch import Tensor

from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Adapter, Conditioning
from vegas_fl.algorithm.generators.base import Sampler
from vegas_fl.algorithm.generators.gmm import GMMSampler
from vegas_fl.algorithm.generators.vae import VAESampler
from vegas_fl.algorithm.training import adapt

SAMPLES = 1000
"""M: samples drawn of a generator."""
STEPS = 80
"""Steps of the search for the latent code of a clip."""
VALUES = 2**21
"""Values of embeddings in memory at a time."""
RIDGE = 0.05
"""Added to the variances of clips, as a share of their mean: there are fewer clips than features."""

Scores = dict[str, Tensor]
"""Attack → a score for each clip ``[N]``."""


def precision_of(clips: list[Tensor]) -> Tensor:
    """How clips of a class vary: the inverse covariance ``[D, D]`` of their mean tokens, over all classes of ``clips``
    (a tensor [N, S, D] for each)."""
    means = torch.cat([(x.mean(1) - x.mean((0, 1))) for x in clips])
    covariance = means.T @ means / len(means)
    typical = covariance.diagonal().mean().clamp_min(torch.finfo(means.dtype).tiny)
    return torch.linalg.inv(covariance + RIDGE * typical * torch.eye(len(covariance)))


def attack_generator(sampler: Sampler, x: Tensor, precision: Tensor, *, generator: torch.Generator) -> Scores:
    """Scores of the clips of a class by what its generator reveals.

    | attack | score |
    |---|---|
    | nearest sample | closeness to the nearest of M samples (Hilprecht et al. 2019), as mean tokens |
    | mean of samples, mean embedding | inner product with what the mean deviates from the candidates' |
    | density | of the mixture, or of the VAE at the clip's best latent code |
    | latent reconstruction | closeness of the decoder's output for that code (of a VAE) |

    The inner products, with ``precision``, are those of Dwork et al. 2015, "Robust traceability from trace amounts".

    Parameters
    ----------
    sampler : Sampler
        What left the node.
    x : Tensor [N, S, D]
        The candidates: members and others, of one class.
    precision : Tensor [D, D]
        How clips vary (:func:`precision_of`).
    generator : torch.Generator
    """
    chunk = max(1, VALUES // x[0].numel())
    counts = [chunk] * (SAMPLES // chunk) + [SAMPLES % chunk]
    drawn = torch.cat([sampler.sample(count, generator=generator).mean(1) for count in counts if count])
    means, centre = x.mean(1), x.mean((0, 1))
    scores = {"nearest sample": -torch.cdist(means / sampler.std, drawn / sampler.std).amin(1)}
    for name, released in (("mean of samples", drawn.mean(0)), ("mean embedding", sampler.mean)):
        scores[name] = (means - centre) @ precision @ (released - centre)
    if isinstance(sampler, VAESampler):
        parts = [_reconstruct(sampler, part) for part in x.split(chunk)]
        density, closeness = (torch.cat(values) for values in zip(*parts, strict=True))
        scores |= {"density": density, "latent reconstruction": closeness}
    elif isinstance(sampler, GMMSampler):
        scores["density"] = _density(sampler, x)
    return scores


@torch.no_grad()
def _density(sampler: GMMSampler, x: Tensor) -> Tensor:
    """Log-density ``[N]`` under the mixture, without its constant."""
    y = (x - sampler.mean) / sampler.std
    logs = [
        w.log() - (0.5 * ((y - m) / s).square() + s.log()).sum((1, 2))
        for w, m, s in zip(sampler.weights, sampler.means, sampler.deviations, strict=True)
        if w > 0
    ]
    return torch.stack(logs).logsumexp(0)


def _reconstruct(sampler: VAESampler, x: Tensor) -> tuple[Tensor, Tensor]:
    """For each clip, the log-density ``[N]`` at its most probable latent code, and minus the squared error ``[N]`` of
    what the decoder makes of that code; of the prior's components, the best."""
    y, prior, sigma = (x - sampler.mean) / sampler.std, sampler.prior, sampler.residual().detach()
    found = []
    for k in prior.weights.nonzero()[:, 0].tolist():
        code = torch.zeros(len(x), prior.means.shape[1], requires_grad=True)
        varied = torch.zeros(len(x), sampler.tokens, len(prior.token_factor), requires_grad=True)
        optimizer = torch.optim.Adam([code, varied], lr=0.15)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            z, centre = (prior.means[k] + code @ prior.factors[k].T).tensor_split([prior.clip_latent], 1)
            deviation = varied @ prior.token_factor.T
            w = centre[:, None] + deviation - deviation.mean(1, keepdim=True)
            error = y - sampler.decode(z, w)
            nll = (0.5 * (error / sigma).square() + sigma.log()).sum((1, 2))
            rarity = 0.5 * (code.square().sum(1) + varied.square().sum((1, 2))) - prior.weights[k].log()
            code.grad, varied.grad = torch.autograd.grad((nll + rarity).sum(), [code, varied])
            optimizer.step()
            schedule.step()
        found.append((-(nll + rarity).detach(), -error.detach().square().sum((1, 2))))
    density, closeness = (torch.stack(values) for values in zip(*found, strict=True))
    return density.amax(0), closeness.amax(0)


def attack_adapter(adapter: Adapter, x: Tensor, labels: Tensor, targets: Conditioning) -> Tensor:
    """Scores ``[N]`` of clips ``x`` [N, S, D] of the classes ``labels`` [N]: minus the logarithm of the adapter's loss
    (Yeom et al. 2018, "Privacy risk in machine learning", section 3)."""
    errors = metrics.closeness(adapt(adapter, x), targets, labels)
    return -sum(branch["mse"] for branch in errors.values()).clamp_min(1e-12).log()  # type: ignore[union-attr]
