"""What a run would draw, where, how long it would take and how much disk it needs; nothing is written."""

from __future__ import annotations

import io
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.config import Config, RendererConfig
from vegas_fl.core import devices, seeds
from vegas_fl.core.files import nearest_existing
from vegas_fl.data.splits import split_evenly
from vegas_fl.rendering import flux
from vegas_fl.rendering.jobs import SERVER, job_path, round_folder, rounds, rounds_there
from vegas_fl.rendering.painter import painter
from vegas_fl.rendering.render import drawing_threads


@dataclass(frozen=True)
class Row:
    """A folder of the plan: its pictures by class, and how many files are there already."""

    node: str
    folder: Path
    classes: dict[str, int]
    there: int

    @property
    def pictures(self) -> int:
        """Pictures it shall have."""
        return sum(self.classes.values())

    @property
    def missing(self) -> int:
        """Pictures to be drawn."""
        return max(0, self.pictures - self.there)


@dataclass(frozen=True)
class Timing:
    """What one batch took.

    Attributes
    ----------
    load : float
        Seconds until FLUX was ready to draw.
    batch : float
        Seconds of the second batch: the first one is slower.
    size : int
        Pictures in a batch, after running out of memory if it did.
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
        """How long ``pictures`` take."""
        return -(-pictures // self.size) * self.batch


def rows(config: Config) -> list[Row]:
    """The folders of a run."""
    wanted: dict[str, dict[str, int]] = {}
    if config.images.where != "server":
        wanted |= {node: split_evenly(entry.pictures, entry.selected_classes) for node, entry in config.nodes.items()}
    if config.images.where != "nodes":
        wanted[SERVER] = split_evenly(config.images.server_samples, config.classes)
    trained = range(1, config.rounds + 1) if "adapters" in config.stages else rounds_there(config)
    found = []
    for round_ in rounds(config, trained):
        for node, classes in wanted.items():
            folder = job_path(config, node, round_folder(round_))
            there = 0 if config.images.overwrite else len(list(folder.glob("*.png")))
            found.append(Row(node, folder, classes, there))
    return found


def embedding_bytes(config: RendererConfig) -> int:
    """Size of a picture's embeddings (``images.output=embeddings``)."""
    clip, tokens, t5 = flux.text_shape(config)
    return 4 * (clip + tokens * t5)


def timing(config: RendererConfig, device: str) -> Timing:
    """Load FLUX and draw a batch twice from random embeddings of the right shape."""
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
    with devices.threads(drawing_threads(config)):
        images = brush.paint(noise, numbers)
        size = brush.batch
        begin = time.monotonic()
        brush.paint(Conditioning(*(branch[:size] for branch in noise)), numbers[:size])
        batch = time.monotonic() - begin
    return Timing(load, batch, size, brush.mode, sum(map(_png_bytes, images)) / len(images))


def shortage(planned: list[Row], bytes_each: float) -> list[str]:
    """Disks that have no room for what is planned, as sentences."""
    needed: dict[int, float] = {}
    place: dict[int, Path] = {}
    for row in planned:
        there = nearest_existing(row.folder)
        disk = there.stat().st_dev
        needed[disk] = needed.get(disk, 0.0) + row.missing * bytes_each
        place[disk] = there
    found = []
    for disk, size in needed.items():
        free = shutil.disk_usage(place[disk]).free
        if size > free:
            found.append(
                f"the pictures need about {size / 1e6:.0f} MB, {free / 1e6:.0f} MB are free in {place[disk]}; free the "
                "disk, draw fewer (nodes.N.samples_per_node), or choose another images_output_dir"
            )
    return found


def _png_bytes(image: object) -> int:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")  # type: ignore[attr-defined]
    return buffer.tell()
