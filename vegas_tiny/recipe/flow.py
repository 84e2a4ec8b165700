"""Training the renderer: rectified flow on the icons' latents, robust to inexact text embeddings.

In the product the embeddings come from audio adapters, which only approximate the text encoders. So the
renderer trains with noise on them, with mixtures of phrasings and of classes, and with either branch
(T5's tokens, CLIP's pooled vector) missing.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel

from vegas_tiny.recipe.flux import new_transformer
from vegas_tiny.recipe.icons import SIZE, Atlas, class_batch, place_gently
from vegas_tiny.recipe.schedule import Budget, cosine, train_averaged
from vegas_tiny.recipe.table import NAMES, phrasings
from vegas_tiny.recipe.text import TextStack, embed

BATCH = 96
RATE = 2e-3
POOL = 6_000  # pictures whose latents are computed once
NOISE = 0.15  # largest noise on the embeddings, relative to their own spread
DROP_ONE = 0.10  # share of samples without T5, and as many without CLIP
DROP_BOTH = 0.05
MIXED = 0.10  # share of samples between two classes
SIDE = SIZE // 16  # latent tokens along one side


@dataclass
class Phrases:
    """Embeddings of every phrasing of every class: `tokens` `[K, J, T, C]`, `pooled` `[K, J, P]`."""

    tokens: torch.Tensor
    pooled: torch.Tensor


def embed_phrases(texts: TextStack) -> Phrases:
    """Embed all phrasings; the canonical prompt of each class is at j = 0."""
    rows = [embed(texts, phrasings(name)) for name in NAMES]
    shortest = min(len(tokens) for tokens, _ in rows)
    return Phrases(
        torch.stack([tokens[:shortest] for tokens, _ in rows]), torch.stack([pooled[:shortest] for _, pooled in rows])
    )


@torch.no_grad()
def latent_pool(
    atlas: Atlas, autoencoder: AutoencoderKL, size: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Packed, normalised latents `[size, SIDE², 64]` of placed icons, and their classes `[size]`."""
    icons = atlas.where(atlas.drawn)
    config = autoencoder.config
    latents, classes = [], []
    for start in range(0, size, 64):
        chosen, labels = class_batch(atlas, icons, min(64, size - start), generator)
        pictures = place_gently(atlas.rgba[chosen], labels, generator)
        mean = autoencoder.encode(pictures).latent_dist.mean
        latents.append(pack((mean - config.shift_factor) * config.scaling_factor))
        classes.append(labels)
    return torch.cat(latents), torch.cat(classes)


def pack(latents: torch.Tensor) -> torch.Tensor:
    """`[B, 16, 8, 8]` to FLUX's tokens `[B, 16, 64]`."""
    return FluxPipeline._pack_latents(latents, *latents.shape)


def conditions(
    phrases: Phrases, classes: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inexact embeddings of the given classes, like those of an adapter.

    Half are of the canonical prompt, the others between it and a random phrasing. Some are mixed with another class;
    a sample's own class has at least half the weight, because its picture should be that of the nearer class.

    Parameters
    ----------
    classes : torch.Tensor
        `[B]` class indices.

    Returns
    -------
    tuple of torch.Tensor
        tokens `[B, T, C]` and pooled `[B, P]`.
    """
    n, count = len(classes), phrases.tokens.shape[1]

    def uniform() -> torch.Tensor:
        return torch.rand(n, generator=generator)

    other = torch.randint(count, (n,), generator=generator)
    slide = uniform() * (uniform() < 0.5)
    foreign = classes[torch.randperm(n, generator=generator)]
    share = 0.5 * uniform() * (uniform() < MIXED)
    fate = uniform()
    kept = {"tokens": fate >= DROP_ONE, "pooled": (fate < DROP_ONE) | (fate >= 2 * DROP_ONE)}
    neither = fate > 1 - DROP_BOTH
    result = []
    for name in ("tokens", "pooled"):
        table: torch.Tensor = getattr(phrases, name)
        shape = (n,) + (1,) * (table.dim() - 2)
        value = torch.lerp(table[classes, 0], table[classes, other], slide.view(shape))
        value = torch.lerp(value, table[foreign, 0], share.view(shape))
        noise = torch.randn(value.shape, generator=generator)
        value = value + NOISE * uniform().view(shape) * table.std() * noise
        result.append(value * (kept[name] & ~neither).view(shape))
    return result[0], result[1]


def some_tokens(tokens: torch.Tensor, done: float, generator: torch.Generator) -> torch.Tensor:
    """A random subset of the text tokens `[B, T, C]`, except in the last fifth of the training.

    FLUX's text tokens have no position and each of ours knows the class, so a few of them teach as much in less
    time, and the renderer does not come to depend on their number.
    """
    length = tokens.shape[1]
    if done > 0.8:
        return tokens
    count = (length // 4, length // 4, length // 4, length // 2, length)[
        int(torch.randint(5, (1,), generator=generator))
    ]
    return tokens[:, torch.randperm(length, generator=generator)[:count]]


def velocity(
    model: FluxTransformer2DModel,
    latents: torch.Tensor,
    times: torch.Tensor,
    tokens: torch.Tensor,
    pooled: torch.Tensor,
) -> torch.Tensor:
    """The model's velocity `[B, SIDE², 64]` at noisy latents and times `[B]` in [0, 1]."""
    positions = FluxPipeline._prepare_latent_image_ids(1, SIDE, SIDE, latents.device, latents.dtype)
    return model(
        hidden_states=latents,
        encoder_hidden_states=tokens,
        pooled_projections=pooled,
        timestep=times,
        img_ids=positions,
        txt_ids=torch.zeros(tokens.shape[1], 3),
        return_dict=False,
    )[0]


def draw_times(size: int, generator: torch.Generator) -> torch.Tensor:
    """Noise levels `[size]`: logit-normal, a fifth of them uniform so that the ends are learnt too."""
    normal = torch.sigmoid(torch.randn(size, generator=generator))
    flat = torch.rand(size, generator=generator)
    return torch.where(torch.rand(size, generator=generator) < 0.2, 1 - flat * flat, normal)


def train(
    atlas: Atlas,
    autoencoder: AutoencoderKL,
    texts: TextStack,
    budget: Budget,
    work: Path,
    pool: int = POOL,
    seed: int = 0,
    resume: bool = False,
) -> FluxTransformer2DModel:
    """Rectified flow: learn the velocity from picture to noise. Returns the averaged weights.

    `resume` goes on from the averaged weights that an interrupted training left in `work`.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    phrases = embed_phrases(texts)
    latents, classes = latent_pool(atlas, autoencoder, pool, generator)
    model = new_transformer()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    running = 1.0

    def update(step: int, done: float) -> dict[str, float]:
        nonlocal running
        chosen = torch.randint(len(latents), (BATCH,), generator=generator)
        picture = latents[chosen]
        noise = torch.randn(picture.shape, generator=generator)
        times = draw_times(BATCH, generator)
        noisy = torch.lerp(picture, noise, times[:, None, None])
        tokens, pooled = conditions(phrases, classes[chosen], generator)
        tokens = some_tokens(tokens, done, generator)
        loss = F.mse_loss(velocity(model, noisy, times, tokens, pooled), noise - picture)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.param_groups[0]["lr"] = RATE * cosine(done, step)
        optimiser.step()
        running += 0.02 * (loss.item() - running)
        return {"loss": running}

    train_averaged(model, budget, work / "flux.pt", update, resume)
    return model.eval()
