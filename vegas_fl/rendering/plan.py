"""The pictures a run would draw: where, how long it would take, and the disk space they need. Writes nothing."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.config import Config, RendererConfig
from vegas_fl.core import seeds
from vegas_fl.data.splits import split_evenly
from vegas_fl.rendering import flux
from vegas_fl.rendering.jobs import SERVER, earlier_rounds, job_path, round_folder, saved_rounds
from vegas_fl.rendering.painter import painter, rendering_threads


@dataclass(frozen=True)
class PlannedFolder:
    """A folder of the plan: its pictures by class, and how many of them are there."""

    node: str
    folder: Path
    classes: dict[str, int]
    there: int

    @property
    def pictures(self) -> int:
        """Pictures the folder will hold."""
        return sum(self.classes.values())

    @property
    def missing(self) -> int:
        """Pictures to be drawn."""
        return max(0, self.pictures - self.there)


@dataclass(frozen=True)
class Timing:
    """Measured cost of a batch.

    Attributes
    ----------
    load : float
        Seconds until FLUX was ready to draw.
    batch : float
        Seconds of the second batch: the first one is slower.
    size : int
        Pictures in a batch: smaller than configured if memory ran out.
    mode : str
        Memory mode.
    bytes_each : float
        Mean size of a PNG.
    """

    load: float
    batch: float
    size: int
    mode: str
    bytes_each: float

    def seconds(self, pictures: int) -> float:
        """Estimated time for ``pictures``."""
        return -(-pictures // self.size) * self.batch


def planned_folders(config: Config) -> list[PlannedFolder]:
    """The folders of pictures of a run."""
    wanted: dict[str, dict[str, int]] = {}
    if config.images.where != "server":
        wanted |= {node: split_evenly(entry.pictures, entry.selected_classes) for node, entry in config.nodes.items()}
    if config.images.where != "nodes":
        wanted[SERVER] = split_evenly(config.images.server_samples, config.classes)
    trained = range(1, config.rounds + 1) if "adapters" in config.stages else saved_rounds(config)
    found = []
    for subfolder in [*map(round_folder, earlier_rounds(config, trained)), ""]:
        for node, classes in wanted.items():
            folder = job_path(config, node, subfolder)
            there = 0 if config.images.overwrite else len(list(folder.glob("*.png")))
            found.append(PlannedFolder(node, folder, classes, there))
    return found


def embedding_bytes(config: RendererConfig) -> int:
    """Size of a picture's embeddings (``images.output=embeddings``)."""
    clip, tokens, t5 = flux.text_shape(config)
    return 4 * (clip + tokens * t5)


def timing(config: RendererConfig, device: str) -> Timing:
    """Load FLUX and draw a batch twice, from random embeddings."""
    begin = time.monotonic()
    brush = painter(config, device)
    load = time.monotonic() - begin
    clip, tokens, t5 = flux.text_shape(config)
    generator = seeds.generator("plan")
    noise = Conditioning(
        torch.randn(config.batch_size, clip, generator=generator),
        torch.randn(config.batch_size, tokens, t5, generator=generator),
    )
    numbers = list(range(config.batch_size))
    with rendering_threads(config):
        images = brush.paint(noise, numbers)
        size = brush.batch
        begin = time.monotonic()
        brush.paint(Conditioning(*(branch[:size] for branch in noise)), numbers[:size])
        batch = time.monotonic() - begin
    return Timing(load, batch, size, brush.mode, sum(map(_png_bytes, images)) / len(images))


def _png_bytes(image: object) -> int:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")  # type: ignore[attr-defined]
    return buffer.tell()
