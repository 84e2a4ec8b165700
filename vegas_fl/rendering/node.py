"""A node's pictures: samples of its generators, through the adapter, to FLUX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from vegas_fl import seeds
from vegas_fl.adapters import Adapter, Conditioning
from vegas_fl.config import Config, Source
from vegas_fl.generators import Sampler
from vegas_fl.rendering import flux
from vegas_fl.rendering.folder import Picture, PictureFolder
from vegas_fl.rendering.sheets import contact_sheet


def render_node(
    config: Config,
    node: str,
    pictures: Sequence[Picture],
    folder: PictureFolder,
    samplers: Mapping[str, Sampler],
    adapter: Adapter,
    targets: Mapping[str, Conditioning],
    device: str,
    progress: Callable[[int], object],
) -> int:
    """Render what is missing of a node's pictures, and their contact sheet.

    Parameters
    ----------
    config : Config
    node : str
        Node id.
    pictures : sequence of Picture
        All the pictures the node shall have.
    folder : PictureFolder
    samplers : mapping
        Class → its generator.
    adapter : Adapter
    targets : mapping
        Class → text target (clip ``[P]``, t5 ``[T, C]``), where a branch is conditioned on text.
    device : str
    progress : callable
        Called with the number of pictures just written.

    Returns
    -------
    int
        How many were rendered; the others were there.
    """
    pending = folder.pending(pictures, config.images.overwrite)
    if pending:
        pipeline = flux.load_renderer(config.renderer, device)
        size = config.renderer.batch_size
        progress(len(pictures) - len(pending))
        for start in range(0, len(pending), size):
            batch = pending[start : start + size]
            # Always full batches: kernels may round differently for another size.
            padded = batch + [batch[-1]] * (size - len(batch))
            conditioning = condition(padded, samplers, adapter, targets, config)
            images = flux.draw(pipeline, config.renderer, conditioning, [p.seed for p in padded])
            for picture, image in zip(batch, images, strict=False):
                folder.save(picture, image)
            progress(len(batch))
    if config.images.sheet_columns:
        contact_sheet(folder.path, pictures, config.images.sheet_columns, sheet_path(folder.path))
    return len(pending)


def sheet_path(folder: Path) -> Path:
    """Where a node's contact sheet lies: beside its folder, so that the folder holds its pictures alone."""
    return folder.with_name(f"{folder.name}_sheet.png")


@torch.no_grad()
def condition(
    pictures: Sequence[Picture],
    samplers: Mapping[str, Sampler],
    adapter: Adapter,
    targets: Mapping[str, Conditioning],
    config: Config,
) -> Conditioning:
    """What FLUX is fed with for a batch: clip ``[B, P]`` and t5 ``[B, T, C]``, a branch each by its source."""
    audio = torch.cat([samplers[p.label].sample(1, generator=seeds.generator(p.seed, "embedding")) for p in pictures])
    drawn = adapter(audio)

    def branch(source: Source, name: str) -> torch.Tensor:
        value: torch.Tensor = getattr(drawn, name)
        if source == "text":
            return torch.stack([getattr(targets[p.label], name) for p in pictures])
        return value if source == "adapter" else torch.zeros_like(value)

    return Conditioning(branch(config.conditioning.clip, "clip"), branch(config.conditioning.t5, "t5"))
