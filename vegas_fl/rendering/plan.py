"""The pictures a run would draw: where, how long it would take, and the disk space they need. Writes nothing."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.audio import encoders
from vegas_fl.config import BRANCHES, Config, RendererConfig
from vegas_fl.core import seeds
from vegas_fl.core.errors import VegasError
from vegas_fl.data.splits import split_evenly
from vegas_fl.rendering import flux, memory
from vegas_fl.rendering.embeddings_file import files_of, refusal
from vegas_fl.rendering.folder import UNKNOWN, PictureFolder, Recipe, plan
from vegas_fl.rendering.jobs import (
    SERVER,
    earlier_rounds,
    job_path,
    recipes,
    renderer_entries,
    round_folder,
    saved_rounds,
    with_round,
)
from vegas_fl.rendering.painter import painter, rendering_threads
from vegas_fl.storage.adapters import load_newest
from vegas_fl.storage.names import adapter_rounds, find_generators
from vegas_fl.storage.tensorfiles import load_header

WORKING = 2e9
"""Bytes that a node takes on a GPU besides drawing: CUDA, audio encoder, judge, an adapter or generator in training."""


@dataclass(frozen=True)
class PlannedFolder:
    """A folder of the plan: its pictures by class, how many of them are there, and why it is refused, if it is."""

    node: str
    folder: Path
    classes: dict[str, int]
    there: int
    problem: str | None = None

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


def planned_folders(config: Config, only: str | None = None, checkpoints: bool = True) -> Iterator[PlannedFolder]:
    """The folders of pictures of a run, compared with what is in them.

    Parameters
    ----------
    config : Config
    only : str, optional
        The node whose folders are on this machine; None: all are.
    checkpoints : bool
        Whether the checkpoints are on this machine.
    """
    wanted: dict[str, dict[str, int]] = {}
    if config.images.where != "server":
        wanted |= {node: split_evenly(entry.pictures, entry.selected_classes) for node, entry in config.nodes.items()}
    if config.images.where != "nodes":
        wanted[SERVER] = split_evenly(config.images.server_samples, config.classes)
    trained = range(1, config.rounds + 1) if "adapters" in config.stages else saved_rounds(config)
    recipe = _Recipes(config, checkpoints)
    for round_ in [*earlier_rounds(config, trained), None]:
        for node, classes in wanted.items():
            if only in (None, node):
                yield _planned(config, node, round_, classes, recipe)


def _planned(config: Config, node: str, round_: int | None, classes: dict[str, int], recipe: _Recipes) -> PlannedFolder:
    path = job_path(config, node, "" if round_ is None else round_folder(round_))
    if config.images.overwrite or not path.is_dir():
        return PlannedFolder(node, path, classes, 0)
    made_from = recipe(node, round_, classes)
    pictures = [p for label, n in classes.items() for p in plan(config.seed, node, [label], n)]
    if config.images.output == "embeddings":
        files = files_of(path, pictures, embedding_bytes(config.renderer))
        there = sum(len(part) for file, part in files.items() if file.is_file())
        refused = None if config.images.source == "recordings" else refusal(path, files, node, made_from)
        return PlannedFolder(node, path, classes, there, refused)
    entries = renderer_entries(config.renderer)
    folder = PictureFolder(path, {label: {**one, **entries} for label, one in made_from.items()})
    if config.images.source == "recordings":
        pictures = folder.there()
    there = len(pictures) - len(folder.missing(pictures))
    return PlannedFolder(node, path, classes, there, folder.refusal(pictures))


class _Recipes:
    """The recipes of a run's pictures, as far as they are known before it: the hashes of what it trains are not."""

    def __init__(self, config: Config, checkpoints: bool) -> None:
        self._config = config
        self._adapters = checkpoints and "adapters" not in config.stages
        self._generators = checkpoints and "generators" not in config.stages
        self._hashes: dict[tuple[Path, ...], dict[str, str]] = {}

    def __call__(self, node: str, round_: int | None, classes: Iterable[str]) -> dict[str, Recipe]:
        """Class → recipe, without the renderer's entries."""
        config = self._config if round_ is None else with_round(self._config, round_)
        adapter = dict.fromkeys((f"{branch}_adapter" for branch in BRANCHES), UNKNOWN)
        with contextlib.suppress(VegasError):  # the check of the checkpoints says it
            adapter = self._adapter(config, node) if self._adapters else adapter
        if config.images.source == "recordings":
            source: dict[str, Any] = {"source": "recordings", "encoder": encoders.fingerprint(config.encoder)}
        else:
            found = find_generators(Path(config.generator.checkpoint_dir)) if self._generators else {}
            headers = {label: load_header(found[label]) if label in found else {} for label in classes}
            source = {"generator": {label: header.get("sha256", UNKNOWN) for label, header in headers.items()}}
        return recipes(config, node, list(classes), adapter, **source)

    def _adapter(self, config: Config, node: str) -> dict[str, str]:
        rounds = adapter_rounds(config, None if node == SERVER else node)
        files = tuple(path for paths in rounds.values() for path in paths.values())
        if files not in self._hashes:  # nodes share the global one
            self._hashes[files] = load_newest(rounds)[1].hashes
        return self._hashes[files]


def node_bytes(config: Config) -> float:
    """The GPU memory that a node of a run takes at most: with as many pictures at once as drawing gets faster by."""
    images, renderer = config.images, config.renderer
    if "images" not in config.stages or images.output == "embeddings" or images.where == "server":
        return WORKING
    sizes, width = flux.dimensions(renderer)
    return WORKING + memory.Needs.of(renderer, sizes, width).bytes(memory.most_at_once(renderer, "cuda"))


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
    generator, count = seeds.generator("plan"), brush.batch
    noise = Conditioning(
        torch.randn(count, clip, generator=generator), torch.randn(count, tokens, t5, generator=generator)
    )
    numbers = list(range(count))
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
