"""The generator of a class: a two-level VAE over audio embeddings, with a fitted latent prior.

A VAE (Kingma & Welling 2014, "Auto-encoding variational Bayes") whose latent has two levels, like an audio
embedding: a clip latent z (which dog, which room) and a token latent w_t (bark or pause at time t). Token t is
decoded only from z, w_t and its position, so no layer grows with S * D.

After training, the prior N(0, I) is replaced by a density fitted to the codes of the training clips (Ghosh
et al. 2020, "From variational to deterministic autoencoders", section 4, ex-post density estimation), because
N(0, I) also draws codes that no clip has, which the decoder turns into embeddings outside the class.

The encoders stay on the node. The :class:`VAESampler` leaves it: decoder, prior and standardisation. The last two
are moments: mean and deviation of each feature, means and covariances of the prior's components. If a class has a
single clip, the prior's mean is that clip's code.

Letters: N clips, S audio tokens of width D, Z width of the clip latent, W width of the token latent, K
components of the prior.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vegas_fl.algorithm.generators.base import Sampler
from vegas_fl.config import VAEConfig
from vegas_fl.core import devices

CHUNK = 32
"""Clips decoded at a time by :meth:`VAESampler.sample`; bounds the memory of the hidden layer."""

CLIPS_PER_COMPONENT = 4
"""Smallest number of clips for each component of the prior; with fewer clips, the prior has fewer components."""

LATENT_LOG_VARIANCE = (-6.0, 2.0)
RESIDUAL_LOG_DEVIATION = (-3.0, 1.0)
"""Bounds that keep a posterior from collapsing to a point and the likelihood from growing without limit."""


class Posterior(NamedTuple):
    """q(z | x) and q(w | x, z), diagonal Gaussians: means and log-variances [B, Z] and [B, S, W]."""

    z_mean: Tensor
    z_log_variance: Tensor
    w_mean: Tensor
    w_log_variance: Tensor


class LatentPrior(nn.Module):
    """A density over (z, w_1..w_S).

    Clip level: a mixture of K Gaussians over (z, c), where c is the mean of w_t over the clip. Token level:
    w_t = c + e_t - mean(e), e_t ~ N(0, C), with one covariance C for all clips. So the tokens of a clip are as
    similar to each other as in recordings, and the number of parameters does not depend on S.

    Parameters
    ----------
    clip_latent, token_latent, components : int
        Z, W and K.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor
    token_factor: Tensor

    def __init__(self, clip_latent: int, token_latent: int, components: int) -> None:
        super().__init__()
        self.clip_latent = clip_latent
        width = clip_latent + token_latent
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, width))
        self.register_buffer("factors", torch.eye(width).repeat(components, 1, 1))
        self.register_buffer("token_factor", torch.eye(token_latent))

    @torch.no_grad()
    def fit(self, posterior: Posterior, shrinkage: float, scale: float = 1.0) -> int:
        """Fit to the aggregate posterior, the mixture of the posteriors of N clips.

        Its covariance is that of the posteriors' means plus the mean of their variances (law of total
        variance), so even a few clips give a proper density; a single clip gives its own posterior.

        Parameters
        ----------
        posterior : Posterior
            Of all N training clips.
        shrinkage : float
            How far the covariances of the clip level are shrunk towards their diagonal, 0 to 1.
        scale : float
            Factor of the deviations of the posteriors' means at the clip level.

        Returns
        -------
        int
            The number of components used: at most one for every ``CLIPS_PER_COMPONENT`` clips. The others get
            weight 0.
        """
        z, z_log_variance, w, w_log_variance = posterior
        clips, tokens = w.shape[:2]
        codes = torch.cat([z, w.mean(1)], 1)
        variance = torch.cat([z_log_variance.exp().mean(0), w_log_variance.exp().mean((0, 1)) / tokens])
        used = min(len(self.weights), max(1, clips // CLIPS_PER_COMPONENT))
        if used == 1:
            weights, means = codes.new_ones(1), codes.mean(0, keepdim=True)
            covariance = (codes - means).T @ (codes - means) / clips
        else:
            from sklearn.mixture import GaussianMixture  # imported here: it takes 1.5 s, and few processes need it

            # "tied": one covariance for all components, because each has too few clips for its own.
            mixture = GaussianMixture(
                used, covariance_type="tied", reg_covar=1e-3, random_state=int(torch.randint(2**31, ()))
            ).fit(codes.double().cpu().numpy())
            weights, means, covariance = (
                torch.as_tensor(array).to(codes) for array in (mixture.weights_, mixture.means_, mixture.covariances_)
            )
        covariance = scale**2 * torch.lerp(covariance, covariance.diagonal().diag(), shrinkage) + variance.diag()
        self.weights.zero_()
        self.weights[:used] = weights
        self.means[:used] = means
        self.factors[:] = torch.linalg.cholesky(covariance)
        deviations = (w - w.mean(1, keepdim=True)).flatten(0, 1)
        within = deviations.T @ deviations / (clips * max(1, tokens - 1))
        within = within + w_log_variance.exp().mean((0, 1)).diag()
        self.token_factor.copy_(torch.linalg.cholesky(within))
        return used

    def sample(self, count: int, tokens: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw z ``[count, Z]`` and w ``[count, S, W]``."""
        component = torch.multinomial(self.weights.cpu(), count, replacement=True, generator=generator)
        component = component.to(self.means.device)
        normal = torch.randn(count, self.means.shape[1], generator=generator).to(self.means)
        code = self.means[component] + torch.einsum("bij,bj->bi", self.factors[component], normal)
        z, centre = code.tensor_split([self.clip_latent], 1)
        deviation = torch.randn(count, tokens, centre.shape[1], generator=generator).to(centre) @ self.token_factor.T
        return z, centre[:, None] + deviation - deviation.mean(1, keepdim=True)


class VAESampler(Sampler):
    """Decoder, prior and standardisation of one class: the part that leaves the node.

    Parameters
    ----------
    tokens, width : int
        S and D.
    config : VAEConfig
        Latent and hidden widths, components of the prior, noise of the samples.
    """

    def __init__(self, tokens: int, width: int, config: VAEConfig) -> None:
        super().__init__(tokens, width)
        self.residual_noise = config.residual_noise
        self.prior = LatentPrior(config.clip_latent, config.token_latent, config.prior_components)
        self.position = nn.Parameter(torch.zeros(tokens, config.token_latent))
        self.decoder = _mlp(config.clip_latent + 2 * config.token_latent, config.hidden, width)
        self.log_sigma = nn.Parameter(torch.full((width,), -1.0))

    def decode(self, z: Tensor, w: Tensor, code: Tensor | None = None) -> Tensor:
        """z ``[B, Z]`` and w ``[B, S, W]`` to the mean of standardised embeddings ``[B, S, D]``.

        ``code`` [B, hidden] is added to the inputs of the hidden layer: what tells the classes of a shared decoder
        apart while it is trained.
        """
        clip = z[:, None].expand(-1, w.shape[1], -1)
        first, activation, last = self.decoder
        hidden = first(torch.cat([clip, w, self.position.expand(len(w), -1, -1)], -1))
        return last(activation(hidden if code is None else hidden + code[:, None]))

    def residual(self) -> Tensor:
        """Deviation ``[D]`` of standardised embeddings from the mean that :meth:`decode` returns."""
        return self.log_sigma.clamp(*RESIDUAL_LOG_DEVIATION).exp()

    @torch.no_grad()
    def _drawn(self, count: int, generator: torch.Generator) -> Tensor:
        z, w = self.prior.sample(count, self.tokens, generator)
        x = torch.empty(count, self.tokens, len(self.mean))
        for part, z_part, w_part in zip(x.split(CHUNK), z.split(CHUNK), w.split(CHUNK), strict=True):
            y = self.decode(z_part, w_part)
            if self.residual_noise:
                y = y + self.residual_noise * self.residual() * torch.randn(y.shape, generator=generator).to(y)
            part.copy_(self.destandardised(y))
        return x


class VAE(nn.Module):
    """A :class:`VAESampler` and the two encoders it is trained with, which stay on the node.

    Parameters
    ----------
    tokens, width : int
        S and D.
    config : VAEConfig
        Latent and hidden widths.
    """

    def __init__(self, tokens: int, width: int, config: VAEConfig) -> None:
        super().__init__()
        self.sampler = VAESampler(tokens, width, config)
        self.clip_encoder = _mlp(width, config.hidden, 2 * config.clip_latent)
        self.token_encoder = _mlp(width + config.clip_latent, config.hidden, 2 * config.token_latent)

    def encode(self, x: Tensor, *, draw: bool) -> tuple[Posterior, Tensor]:
        """Posterior of standardised ``x`` [B, S, D], and the z ``[B, Z]`` that w depends on (drawn, or the mean)."""
        z_mean, z_log_variance = self.clip_encoder(x.mean(1)).chunk(2, -1)
        z_log_variance = z_log_variance.clamp(*LATENT_LOG_VARIANCE)
        z = _draw(z_mean, z_log_variance) if draw else z_mean
        tokens = torch.cat([x, z[:, None].expand(-1, x.shape[1], -1)], -1)
        w_mean, w_log_variance = self.token_encoder(tokens).chunk(2, -1)
        return Posterior(z_mean, z_log_variance, w_mean, w_log_variance.clamp(*LATENT_LOG_VARIANCE)), z

    def forward(self, x: Tensor, noise: float, code: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The two halves of the negative evidence lower bound (Kingma & Welling 2014, eq. 3).

        Parameters
        ----------
        x : Tensor [B, S, D]
            Standardised embeddings.
        noise : float
            Deviation of the noise added to the encoders' input; the likelihood is of x without noise.
        code : Tensor [B, hidden], optional
            See :meth:`VAESampler.decode`.

        Returns
        -------
        nll, kl : Tensor [B]
            Negative log-likelihood of x under one draw of (z, w), without its constant, in nats; divergence
            of the posterior from N(0, I).
        """
        posterior, z = self.encode(x + noise * torch.randn_like(x), draw=True)
        w = _draw(posterior.w_mean, posterior.w_log_variance)
        sigma = self.sampler.residual()
        nll = (0.5 * ((x - self.sampler.decode(z, w, code)) / sigma).square() + sigma.log()).sum((1, 2))
        kl = _kl(posterior.z_mean, posterior.z_log_variance).sum(1)
        return nll, kl + _kl(posterior.w_mean, posterior.w_log_variance).sum((1, 2))


def train_vae(clips: Sequence[Tensor], config: VAEConfig, device: str = "cpu") -> list[tuple[VAE, dict[str, float]]]:
    """Train the generators of one or several classes on their ``clips`` [N, S, D], then fit each one's prior.

    See :func:`~vegas_fl.algorithm.generators.train_generators`. Several classes share one network, a VAE conditioned on
    the class (Sohn et al. 2015, "Learning structured output representation using deep conditional generative
    models"): each has a learnt code in the decoder, which becomes a part of its generator's bias, and its own
    standardisation and prior. So every class has a whole generator of its own in the end.

    The metrics: ``nll`` and ``kl`` (nats per value of x, means over all classes in the last epoch), ``epochs``,
    ``components`` (used by the prior) and ``clips`` of the class.
    """
    draws = torch.get_rng_state()

    def run(at_once: int, place: str) -> list[tuple[VAE, dict[str, float]]]:
        torch.set_rng_state(draws)
        return _trained(clips, config, place, at_once)

    return devices.sparing(run, config.batch_size, device, "the training of a generator")


def _trained(
    clips: Sequence[Tensor], config: VAEConfig, device: str, at_once: int
) -> list[tuple[VAE, dict[str, float]]]:
    """:func:`train_vae`, with ``at_once`` clips at a time, whose gradients add up to those of a batch."""
    vae = VAE(clips[0].shape[1], clips[0].shape[2], config).to(device)
    models = [vae, *(copy.deepcopy(vae) for _ in clips[1:])]
    parts = [model.sampler.fit_standardisation(x.to(device)) for model, x in zip(models, clips, strict=True)]
    x, labels = torch.cat(parts), torch.cat([torch.full((len(x),), label) for label, x in enumerate(parts)])
    codes = nn.Parameter(torch.zeros(len(parts), config.hidden, device=device)) if len(parts) > 1 else None
    trained = [*vae.parameters(), *([] if codes is None else [codes])]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, fused=True)
    steps_an_epoch = -(-len(x) // config.batch_size)
    epochs = max(1, min(config.epochs, len(parts) * config.max_steps // steps_an_epoch))
    totals = torch.zeros(2, dtype=torch.float64, device=device)
    for epoch in range(epochs):
        # The KL term grows from 0: at full weight, ignoring the latents is the cheapest solution while the
        # decoder is untrained (Bowman et al. 2016, "Generating sentences from a continuous space").
        beta = config.beta * min(1.0, epoch / max(1.0, config.warmup * epochs))
        totals.zero_()
        for batch in torch.randperm(len(x)).split(config.batch_size):
            optimizer.zero_grad()
            for rows in batch.split(at_once):
                nll, kl = vae(x[rows], config.input_noise, None if codes is None else codes[labels[rows]])
                (len(rows) / len(batch) * (nll + beta * kl).mean() / x[0].numel()).backward()
                totals += torch.stack([nll.detach().sum(), kl.detach().sum()])  # read at the end: no wait in each step
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
    nll_total, kl_total = (totals / x.numel()).tolist()
    figures = {"nll": nll_total, "kl": kl_total, "epochs": epochs}
    shared = {name: value.clone() for name, value in vae.named_parameters()}
    found = []
    with torch.no_grad():
        for label, (model, own) in enumerate(zip(models, parts, strict=True)):
            for name, parameter in model.named_parameters():
                parameter.copy_(shared[name])
            if codes is not None:
                model.get_parameter("sampler.decoder.0.bias").add_(codes[label])
            pieces = own.split(len(own) if at_once == config.batch_size else at_once)
            posteriors = [model.eval().encode(piece, draw=False)[0] for piece in pieces]
            posterior = Posterior(*map(torch.cat, zip(*posteriors, strict=True)))
            components = model.sampler.prior.fit(posterior, config.prior_shrinkage, config.prior_scale)
            found.append((model.cpu(), {**figures, "components": components, "clips": len(own)}))
    return found


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def _draw(mean: Tensor, log_variance: Tensor) -> Tensor:
    return mean + torch.randn_like(mean) * (log_variance / 2).exp()


def _kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) of each coordinate (Kingma & Welling 2014, appendix B)."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp())
