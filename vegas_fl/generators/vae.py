"""The generator of one class: a two-level VAE over audio embeddings, with a fitted latent prior.

A VAE (Kingma & Welling 2014, "Auto-encoding variational Bayes") whose latent has two levels, because an
audio embedding has two: a clip latent z (which dog, which room) and a token latent w_t (bark or pause at
time t). A token is decoded from (z, w_t) and its position, so no layer grows with S * D. After training the
N(0, I) prior is replaced by a density fitted to the codes of the training clips (Ghosh et al. 2020, "From
variational to deterministic autoencoders", section 4, ex-post density estimation): what N(0, I) draws and
what the decoder has seen differ, and that difference is most of what a sample loses.

The encoders stay on the node. :class:`Sampler` is what leaves it: decoder, prior and standardisation.
It reveals moments only, of single features (mean, deviation, smallest value) and of latent codes (means and
covariances of the prior's components), never the code of a clip.

Letters: N clips, S audio tokens of width D, Z width of the clip latent, W width of the token latent, K
components of the prior.
"""

from __future__ import annotations

import math

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from vegas_fl.config import GeneratorConfig
from vegas_fl.errors import VegasError

CHUNK = 32
"""Clips decoded at a time when sampling: bounds the memory of the hidden layer."""


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class LatentPrior(nn.Module):
    """A density over (z, w_1..w_S), fitted to the aggregate posterior.

    The clip level is a mixture of K Gaussians over v = (z, w_mean), where w_mean is the mean of w_t over
    the clip; the token level is w_t = w_mean + e_t with e_t ~ N(0, C), one covariance for all clips. So the tokens of
    one clip resemble each other as they do in recordings, for any S.

    Parameters
    ----------
    clip_latent, token_latent, components : int
        Z, W and K. Fewer clips than components leave components with weight 0.
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

    def sample(self, count: int, tokens: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw z ``[count, Z]`` and w ``[count, S, W]``."""
        component = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        normal = torch.randn(count, self.means.shape[1], generator=generator)
        clip = self.means[component] + (self.factors[component] @ normal[:, :, None]).squeeze(2)
        z, centre = clip[:, : self.clip_latent], clip[:, self.clip_latent :]
        e = torch.randn(count, tokens, centre.shape[1], generator=generator) @ self.token_factor.T
        return z, centre[:, None] + e


class Sampler(nn.Module):
    def __init__(self, tokens: int, width: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.tokens = tokens
        self.residual_noise = config.residual_noise
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("floor", torch.full((width,), -math.inf))
        self.prior = LatentPrior(config.clip_latent, config.token_latent, config.prior_components)
        self.position = nn.Parameter(torch.zeros(tokens, config.token_latent))
        self.decoder = mlp(config.clip_latent + config.token_latent * 2, config.hidden, width)
        self.log_sigma = nn.Parameter(torch.full((width,), -1.0))

    def decode(self, z: Tensor, w: Tensor) -> Tensor:
        n = len(z)
        return self.decoder(
            torch.cat([z[:, None].expand(-1, self.tokens, -1), w, self.position.expand(n, -1, -1)], -1)
        )

    def sigma(self) -> Tensor:
        return self.log_sigma.clamp(-3, 1)

    @torch.no_grad()
    def sample(self, count: int, *, generator: torch.Generator) -> Tensor:
        z, w = self.prior.sample(count, self.tokens, generator)
        parts = []
        for zz, ww in zip(z.split(CHUNK), w.split(CHUNK), strict=True):
            y = self.decode(zz, ww)
            if self.residual_noise:
                y = y + self.residual_noise * self.sigma().exp() * torch.randn(y.shape, generator=generator)
            parts.append(torch.maximum(y * self.std + self.mean, self.floor))
        return torch.cat(parts)


class VAE(nn.Module):
    def __init__(self, tokens: int, width: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.sampler = Sampler(tokens, width, config)
        self.clip_encoder = mlp(width, config.hidden, 2 * config.clip_latent)
        self.token_encoder = mlp(width + config.clip_latent, config.hidden, 2 * config.token_latent)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        m, v = self.clip_encoder(x.mean(1)).chunk(2, -1)
        v = v.clamp(-6, 2)
        z = m + torch.randn_like(m) * (v / 2).exp() if self.training else m
        n, u = self.token_encoder(torch.cat([x, z[:, None].expand(-1, x.shape[1], -1)], -1)).chunk(2, -1)
        return m, v, n, u.clamp(-6, 2)

    def forward(self, x: Tensor, noise: float) -> tuple[Tensor, Tensor]:
        noisy = x + noise * torch.randn_like(x)
        m, v = self.clip_encoder(noisy.mean(1)).chunk(2, -1)
        v = v.clamp(-6, 2)
        z = m + torch.randn_like(m) * (v / 2).exp()
        n, u = self.token_encoder(torch.cat([noisy, z[:, None].expand(-1, x.shape[1], -1)], -1)).chunk(2, -1)
        u = u.clamp(-6, 2)
        w = n + torch.randn_like(n) * (u / 2).exp()
        s = self.sampler.sigma()
        nll = (0.5 * ((x - self.sampler.decode(z, w)) / s.exp()) ** 2 + s).sum((1, 2))
        kl = -0.5 * (1 + v - m**2 - v.exp()).sum(1) - 0.5 * (1 + u - n**2 - u.exp()).sum((1, 2))
        return nll, kl


def train_vae(x: Tensor, config: GeneratorConfig) -> tuple[VAE, dict[str, float]]:
    vae = VAE(x.shape[1], x.shape[2], config)
    s = vae.sampler
    s.mean.copy_(x.mean((0, 1)))
    spread = x.std((0, 1), correction=0)
    s.std.copy_(spread + 0.05 * spread.square().mean().sqrt())
    if x.min() >= 0:
        s.floor.zero_()
    x = (x - s.mean) / s.std
    opt = torch.optim.AdamW(vae.parameters(), lr=config.learning_rate)
    steps = config.epochs * -(-len(x) // config.batch_size)
    step = 0
    for _ in range(config.epochs):
        for b in torch.randperm(len(x)).split(config.batch_size):
            beta = config.beta * min(1.0, step / max(1, config.warmup * steps))
            nll, kl = vae(x[b], config.input_noise)
            loss = (nll + beta * kl).mean() / x.shape[2] / 10
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            opt.step()
            step += 1
    vae.eval()
    fit_prior(vae, x, config)
    return vae, {"nll": nll.mean().item(), "kl": kl.mean().item(), "epochs": config.epochs}


@torch.no_grad()
def fit_prior(vae: VAE, x: Tensor, config: GeneratorConfig) -> None:
    p = vae.sampler.prior
    m, v, n, u = vae.encode(x)
    S = x.shape[1]
    clip = torch.cat([m, n.mean(1)], 1)
    extra = torch.cat([v.exp().mean(0), u.exp().mean((0, 1)) / S])
    K = min(config.prior_components, max(1, len(x) // 4))
    d = clip.shape[1]
    if K == 1:
        means = clip.mean(0, keepdim=True)
        covs = torch.cov(clip.T, correction=0)[None] if len(x) > 1 else torch.zeros(1, d, d)
        w = torch.ones(1)
    else:
        g = GaussianMixture(K, covariance_type="tied", reg_covar=1e-2, random_state=0, n_init=2).fit(clip.double().numpy())
        means = torch.tensor(g.means_).float()
        w = torch.tensor(g.weights_).float()
        covs = torch.tensor(g.covariances_).float().expand(K, d, d)
    a = config.prior_shrinkage
    p.weights.zero_()
    for k in range(K):
        c = (1 - a) * covs[k] + a * torch.diag(covs[k].diagonal()) + torch.diag(extra) + 1e-5 * torch.eye(d)
        p.weights[k] = w[k]
        p.means[k] = means[k]
        p.factors[k] = torch.linalg.cholesky(c)
    dev = (n - n.mean(1, keepdim=True)).reshape(-1, n.shape[2])
    c = dev.T @ dev / len(dev) + torch.diag(u.exp().mean((0, 1))) + 1e-5 * torch.eye(n.shape[2])
    p.token_factor.copy_(torch.linalg.cholesky(c))
