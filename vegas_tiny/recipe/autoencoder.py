"""The pictures' autoencoder: diffusers' `AutoencoderKL`, eight times smaller each way, 16 latent channels."""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from vegas_tiny.recipe.icons import Atlas, class_batch, place
from vegas_tiny.recipe.schedule import Budget, cosine, train_averaged

KL_WEIGHT = 1e-4  # per latent value: keeps the latents small and nearly Gaussian, which helps the flow
BATCH = 8
RATE = 3e-3
LATENT_NOISE = 0.05  # largest noise the decoder trains with, relative to the latents' spread
NARROW = -5.0  # log-variance of the posterior at the start


def new_autoencoder() -> AutoencoderKL:
    """The architecture, initialised so that it learns fast.

    Residual branches start at zero and all other layers preserve the size of their input. This leaves a linear path
    that carries colours from the first step; with the usual initialisation, finding such a path takes a thousand
    steps. The posterior starts narrow.
    """
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 24, 48, 96),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=1,  # more groups would hide plain colours from the network
        sample_size=64,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    branches = [part for part in model.modules() if isinstance(part, ResnetBlock2D)]
    inside = {layer for part in branches for layer in (part.conv1, part.conv2)}
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if layer in inside else "linear")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            if layer not in inside and layer.in_channels == layer.out_channels and layer.stride == (1, 1):
                nn.init.dirac_(layer.weight)
    for part in branches:
        nn.init.zeros_(part.conv2.weight)
    latents = model.config.latent_channels
    with torch.no_grad():
        model.encoder.conv_out.weight[latents:] = 0
        model.encoder.conv_out.bias[latents:] = NARROW
    return model


def training_pictures(atlas: Atlas, size: int, generator: torch.Generator, share: float = 0.625) -> torch.Tensor:
    """Pictures `[size, 3, 64, 64]`: the given share are icons of the classes, the others any icons not held back."""
    drawn, _ = class_batch(atlas, atlas.where(atlas.shown & atlas.training_style), int(size * share), generator)
    others = atlas.where(~atlas.held & atlas.training_style)
    chosen = torch.cat([drawn, others[torch.randint(len(others), (size - len(drawn),), generator=generator)]])
    return place(atlas.rgba[chosen], atlas.labels[chosen], generator)


def unseen_pictures(atlas: Atlas, seed: int = 1) -> torch.Tensor:
    """One picture of each icon held back from all training, `[N, 3, 64, 64]`."""
    held = atlas.where(atlas.held & atlas.training_style)
    generator = torch.Generator().manual_seed(seed)
    return place(atlas.rgba[held], atlas.labels[held], generator)


@torch.no_grad()
def absolute_error(model: AutoencoderKL, pictures: torch.Tensor) -> float:
    """Mean absolute error of the reconstruction from the latent mean, in units of pictures in [−1, 1]."""
    errors = [(model.decode(model.encode(x).latent_dist.mean).sample - x).abs().mean() for x in pictures.split(64)]
    sizes = torch.tensor([len(x) for x in pictures.split(64)], dtype=torch.float32)
    return float((torch.stack(errors) * sizes).sum() / sizes.sum())


def reconstruction_loss(output: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """L1 (the measure of the report), squared error for colours, and L1 of local differences for sharp edges."""
    loss = F.l1_loss(output, pictures) + F.mse_loss(output, pictures)
    for axis in (2, 3):
        loss = loss + 0.25 * F.l1_loss(output.diff(dim=axis), pictures.diff(dim=axis))
    return loss


def train(atlas: Atlas, budget: Budget, work: Path, seed: int = 0, resume: bool = False) -> AutoencoderKL:
    """Train encoder and decoder together. Returns the averaged weights."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = new_autoencoder()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-4)

    def update(step: int, done: float) -> dict[str, float]:
        optimiser.param_groups[0]["lr"] = RATE * cosine(done, step)
        pictures = training_pictures(atlas, BATCH, generator)
        latents = model.encode(pictures).latent_dist
        loss = reconstruction_loss(model.decode(latents.sample()).sample, pictures)
        divergence = 0.5 * (latents.mean.square() + latents.var - 1 - latents.logvar).mean()
        optimiser.zero_grad()
        (loss + KL_WEIGHT * divergence).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return {"loss": loss.item(), "kl": divergence.item()}

    train_averaged(model, budget, work / "autoencoder.pt", update, resume)
    return normalise(model, atlas)


def refine(model: AutoencoderKL, atlas: Atlas, budget: Budget, work: Path, seed: int = 1) -> AutoencoderKL:
    """Train only the decoder further; the encoder, and so the latents that the renderer learns, do not change.

    A little noise is added to the latents, because the renderer's are never exact.
    """
    generator = torch.Generator().manual_seed(seed)
    model.encoder.requires_grad_(False)
    parameters = list(model.decoder.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=RATE / 2, betas=(0.9, 0.99), weight_decay=1e-4)

    def update(step: int, done: float) -> dict[str, float]:
        optimiser.param_groups[0]["lr"] = RATE / 2 * cosine(done, step)
        pictures = training_pictures(atlas, BATCH, generator, share=0.25)
        with torch.no_grad():
            latents = model.encode(pictures).latent_dist.mean
            amount = LATENT_NOISE * torch.rand(BATCH, 1, 1, 1, generator=generator) * latents.std()
            latents = latents + amount * torch.randn(latents.shape, generator=generator)
        loss = reconstruction_loss(model.decode(latents).sample, pictures)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        return {"loss": loss.item()}

    train_averaged(model.decoder, budget, work / "decoder.pt", update)
    return model.eval()


@torch.no_grad()
def normalise(model: AutoencoderKL, atlas: Atlas) -> AutoencoderKL:
    """Write the latents' mean and spread into the config, as `shift_factor` and `scaling_factor`."""
    pictures = training_pictures(atlas, 512, torch.Generator().manual_seed(2))
    latents = torch.cat([model.encode(x).latent_dist.mean for x in pictures.split(64)])
    model.register_to_config(
        shift_factor=round(float(latents.mean()), 4), scaling_factor=round(float(1 / latents.std()), 4)
    )
    return model.eval()
