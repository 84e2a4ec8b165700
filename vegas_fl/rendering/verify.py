"""Checks folders of pictures: names, counts, hashes, provenance, and whether the pictures can be reproduced."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.audio import encoders
from vegas_fl.config import BRANCHES, Config, restored
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import embeddings_file, flux, picture_file
from vegas_fl.rendering.folder import Manifest, Picture, Recipe, intact, plan, plan_clips, read_manifest
from vegas_fl.rendering.jobs import SERVER, AdapterFeed, Audio, Feed, sampled, sampled_from_owners
from vegas_fl.rendering.painter import Unusable, painter, rendering_threads
from vegas_fl.rendering.recordings import recordings_of
from vegas_fl.rendering.runfile import NAME, RunFile, read_runfile
from vegas_fl.rendering.text_targets import text_targets
from vegas_fl.storage.adapters import adapter_from, load_adapter
from vegas_fl.storage.generators import load_class_generator

TOLERANCE = 2
"""Largest difference of a pixel, of 255, that another batch size, device or version causes in float32."""
CLOSE = {"float32": 42.0, "bfloat16": 35.0, "float16": 42.0}
"""Smallest peak signal-to-noise ratio (dB), by ``renderer.dtype``, to a picture drawn with another batch size, memory
mode, device or version. With all of them the same, pictures are byte-identical."""


@dataclass
class Report:
    """The result of checking one folder.

    Attributes
    ----------
    pictures : int
        Pictures the folder should hold.
    problems : list of str
    identical, close : int
        Pictures that were drawn again and are identical, or as close as :data:`TOLERANCE` or :data:`CLOSE` say.
    note : str
        Why none could be drawn again; else empty.
    """

    folder: Path
    pictures: int = 0
    problems: list[str] = field(default_factory=list)
    identical: int = 0
    close: int = 0
    note: str = ""


def verify(folder: Path, sample: int, overrides: Sequence[str]) -> Report:
    """Check one folder.

    Parameters
    ----------
    folder : Path
    sample : int
        Pictures to draw again, evenly spaced; 0: none.
    overrides : sequence of str
        Overrides of the stored configuration: where checkpoints or models are now, the device.
    """
    report = Report(folder)
    try:
        run = read_runfile(folder)
        config = restored(run.config, overrides)
        manifest = read_manifest(folder)
    except VegasError as error:
        report.problems.append(str(error))
        return report
    pictures = expected(run, config, manifest)
    report.pictures = sum(run.pictures.values())
    report.problems += contents(folder, manifest, pictures, report.pictures)
    if sample and not report.problems:
        try:
            again = [pictures[i] for i in evenly_spaced(len(pictures), sample)]
            recipes = {line["class"]: line["recipe"] for line in manifest.values()}
            _reproduce(report, config, feed_of(run, config, recipes, again), again, manifest)
        except Unusable as error:
            report.problems.append(str(error))
        except VegasError as error:
            report.note = str(error)
    return report


def expected(run: RunFile, config: Config, manifest: Manifest) -> list[Picture]:
    """The pictures the folder should hold, with their seeds."""
    if any("clip" in line for line in manifest.values()):
        clips: dict[str, list[str]] = {label: [] for label in run.pictures}
        for line in manifest.values():
            if "clip" in line:
                clips.setdefault(line["class"], []).append(line["clip"])
        return plan_clips(config.seed, run.node, clips)
    return [p for label, n in run.pictures.items() for p in plan(config.seed, run.node, [label], n)]


def contents(folder: Path, manifest: Manifest, pictures: Sequence[Picture], count: int) -> Iterator[str]:
    """Problems of names, counts, hashes, seeds and text chunks."""
    if len(pictures) != count:
        yield f"{folder}: expected {count} pictures, got {len(pictures)}"
    for unknown in sorted({p.name for p in folder.glob("*.png")} - {p.name for p in pictures}):
        yield f"{folder / unknown}: not a picture of this run"
    for picture in pictures:
        path, line = folder / picture.name, manifest.get(picture.name)
        if not path.is_file():
            yield f"{path}: missing"
        elif line is None:
            yield f"{path}: not in the manifest"
        elif not intact(path, line["sha256"]):
            yield f"{path}: changed or truncated since it was written"
        elif line["seed"] != picture.seed:
            yield f"{path}: expected seed {picture.seed} for its run, node, class and index, got {line['seed']}"
        elif (chunk := _recipe(path)) != {**{k: line[k] for k in chunk if k in line}, **line["recipe"]}:
            yield f"{path}: its text chunk does not match the manifest"


def feed_of(run: RunFile, config: Config, recipes: dict[str, Recipe], pictures: Sequence[Picture]) -> Feed:
    """The embeddings that pictures were drawn from.

    Parameters
    ----------
    run : RunFile
        The folder's run.json.
    config : Config
    recipes : dict
        Class → recipe, from the manifest: the checkpoints must not have changed since.
    pictures : sequence of Picture

    Raises
    ------
    VegasError
        The embeddings cannot be computed here.
    """
    files = run.files
    if files.embeddings:
        place = Path(files.embeddings[0]).parent
        return embeddings_file.FileFeed(embeddings_file.find_prompts(place)[place])
    device = devices.resolve_device(config.device)
    if lacking := [branch for branch in BRANCHES if branch not in files.adapter]:
        raise VegasError(f"its {NAME} names no adapter of the branch {lacking[0]}")
    saved = load_adapter(
        {branch: _moved(path, config.adapter.checkpoint_dir) for branch, path in files.adapter.items()}
    )
    _unchanged(recipes, **saved.hashes, renderer_fingerprint=flux.picture_fingerprint(config.renderer))
    targets: dict[str, Conditioning] = {}
    if "text" in config.conditioning.model_dump().values():
        labels = sorted(recipes)
        targets = text_targets(labels, config.renderer, Path(config.paths.cache).expanduser(), device).by_class(labels)
    if config.images.source == "recordings":
        _unchanged(recipes, encoder=encoders.fingerprint(config.encoder))
        audio = recordings_of(pictures, config, run.node, device)
    else:
        audio = _samples(run, config, recipes)
    adapter = adapter_from(saved.header, saved.state, "the adapter")
    return AdapterFeed(audio, adapter, targets, config.conditioning, config.renderer.batch_size)


def _samples(run: RunFile, config: Config, recipes: dict[str, Recipe]) -> Audio:
    generators = {
        label: load_class_generator(_moved(path, config.generator.checkpoint_dir), label=label)
        for label, path in run.files.generators.items()
    }
    for label, recipe in recipes.items():
        if label not in generators:
            raise VegasError(f"its {NAME} names no generator of {label}")
        _unchanged({label: recipe}, generator=generators[label].header["sha256"])
    if run.node == SERVER:
        return sampled_from_owners(generators)
    return sampled({label: generator.of(run.node) for label, generator in generators.items()})


def _unchanged(recipes: dict[str, Recipe], **now: str) -> None:
    """Raise :class:`VegasError` if an entry of the recipes has changed."""
    for label, recipe in recipes.items():
        for key, value in now.items():
            if recipe.get(key) != value:
                raise VegasError(f"the {key.replace('_', ' ')} has changed since the pictures of {label} were drawn")


def _moved(path: str, folder: str) -> Path:
    """A checkpoint at its recorded path, or else in the configured folder."""
    return Path(path) if Path(path).is_file() else Path(folder) / Path(path).name


def _reproduce(report: Report, config: Config, feed: Feed, pictures: Sequence[Picture], manifest: Manifest) -> None:
    brush = painter(config.renderer, devices.resolve_device(config.device))
    sizes = {manifest[p.name].get("drawn", {}).get("batch") for p in pictures}
    if len(sizes) == 1 and isinstance(size := sizes.pop(), int) and 0 < size <= brush.batch:
        brush.batch = size  # other sizes round differently
    with rendering_threads(config.renderer):
        images = brush.paint(
            feed(pictures), [p.seed for p in pictures], [str(report.folder / p.name) for p in pictures]
        )
    for picture, image in zip(pictures, images, strict=True):
        path = report.folder / picture.name
        old = picture_file.read(path)
        before, after = np.asarray(old.convert("RGB"), np.int16), np.asarray(image.convert("RGB"), np.int16)
        difference = int(np.abs(before - after).max()) if before.shape == after.shape else 255
        if difference == 0:
            report.identical += 1
        elif difference <= TOLERANCE or psnr(before, after) >= CLOSE[config.renderer.dtype]:
            report.close += 1
        else:
            report.problems.append(
                f"{path}: drawn again, it differs (by up to {difference} of 255{_decibels(before, after)}); "
                f"recipe: {json.dumps(manifest[picture.name]['recipe'])}"
            )


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two pictures, values from 0 to 255; 0 if their sizes differ."""
    if one.shape != other.shape:
        return 0.0
    error = float(np.square(one.astype(np.float64) - other).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def _decibels(one: np.ndarray, other: np.ndarray) -> str:
    return f", {psnr(one, other):.1f} dB" if one.shape == other.shape else ""


def evenly_spaced(total: int, count: int) -> list[int]:
    """``count`` evenly spaced positions of ``total``."""
    count = min(total, count)
    return sorted({round(i * (total - 1) / max(1, count - 1)) for i in range(count)})


def _recipe(path: Path) -> dict[str, Any]:
    """The recipe in a picture's text chunk; empty if it has none."""
    try:
        return picture_file.recipe(picture_file.read(path))
    except VegasError:
        return {}
