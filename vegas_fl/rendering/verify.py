"""Checking folders of pictures: names, counts, hashes, provenance, and whether the pictures can be made again."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.audio import encoders
from vegas_fl.config import Config, restored
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import embeddings_file, flux
from vegas_fl.rendering.folder import Picture, PictureFolder, Recipe, plan, plan_clips
from vegas_fl.rendering.jobs import SERVER, AdapterFeed, Audio, Feed, sampled, sampled_from_owners
from vegas_fl.rendering.painter import painter
from vegas_fl.rendering.recordings import recordings_of
from vegas_fl.rendering.render import drawing_threads
from vegas_fl.rendering.runfile import NAME, read_runfile
from vegas_fl.rendering.text_targets import text_targets
from vegas_fl.storage.adapters import adapter_from, load_adapter
from vegas_fl.storage.generators import load_class_generator

TOLERANCE = 2
"""Values of 0…255 by which another batch size, device or version may change a pixel."""


@dataclass
class Report:
    """What was found in one folder.

    Attributes
    ----------
    pictures : int
        Pictures the folder should have.
    problems : list of str
    identical, close : int
        Pictures made again: the same to the byte, or within :data:`TOLERANCE`.
    note : str
        Why none could be made again; empty if some were.
    """

    folder: Path
    pictures: int = 0
    problems: list[str] = field(default_factory=list)
    identical: int = 0
    close: int = 0
    note: str = ""


def find_folders(place: Path) -> list[Path]:
    """Folders of pictures at or below ``place``.

    Raises
    ------
    VegasError
        There are none.
    """
    found = sorted({path.parent for name in (NAME, "manifest.jsonl") for path in place.rglob(name)})
    if not found:
        raise VegasError(
            f"{place} holds no pictures of a run (no {NAME}); give an images_output_dir or a node's folder"
        )
    return found


def verify(folder: Path, sample: int, overrides: Sequence[str]) -> Report:
    """Check one folder.

    Parameters
    ----------
    folder : Path
    sample : int
        Pictures that are made again, evenly spread; 0: none.
    overrides : sequence of str
        Over the stored configuration: where checkpoints or models lie now, device.
    """
    report = Report(folder)
    try:
        run = read_runfile(folder)
        config = restored(run["config"], overrides)
    except VegasError as error:
        report.problems.append(str(error))
        return report
    pictures = expected(run, config, PictureFolder(folder, {}))
    report.pictures = sum(run["pictures"].values())
    report.problems += contents(folder, pictures, report.pictures)
    if sample and not report.problems:
        try:
            again = [pictures[i] for i in spread(len(pictures), sample)]
            _reproduce(report, config, feed_of(run, config, _recipes(folder), again), again)
        except VegasError as error:
            report.note = str(error)
    return report


def expected(run: dict[str, Any], config: Config, folder: PictureFolder) -> list[Picture]:
    """The pictures the folder should hold, with their seeds."""
    lines = folder.lines().values()
    if any("clip" in line for line in lines):
        clips: dict[str, list[str]] = {label: [] for label in run["pictures"]}
        for line in lines:
            clips.setdefault(line["class"], []).append(line["clip"])
        return plan_clips(config.seed, run["node"], clips)
    return [p for label, n in run["pictures"].items() for p in plan(config.seed, run["node"], [label], n)]


def contents(folder: Path, pictures: Sequence[Picture], count: int) -> Iterator[str]:
    """What is wrong with names, counts, hashes, seeds and text chunks."""
    made = PictureFolder(folder, {})
    lines = made.lines()
    if len(pictures) != count:
        yield f"{folder}: {len(pictures)} pictures, {count} expected"
    for strange in sorted({p.name for p in folder.glob("*.png")} - {p.name for p in pictures}):
        yield f"{folder / strange}: no picture of this run"
    for picture in pictures:
        path, line = folder / picture.name, lines.get(picture.name)
        if not path.is_file():
            yield f"{path}: missing"
        elif line is None:
            yield f"{path}: not in the manifest"
        elif not made.intact(picture.name, line["sha256"]):
            yield f"{path}: changed or cut short since it was written"
        elif line["seed"] != picture.seed:
            yield f"{path}: its seed is {line['seed']}, not the {picture.seed} that its run, node, class and index give"
        elif (chunk := _chunk(path)) != {**{k: line[k] for k in chunk if k in line}, **line["recipe"]}:
            yield f"{path}: its text chunk and the manifest say different things"


def feed_of(run: dict[str, Any], config: Config, recipes: dict[str, Recipe], pictures: Sequence[Picture]) -> Feed:
    """The embeddings that pictures were drawn from.

    Parameters
    ----------
    run : dict
        The folder's run.json.
    config : Config
    recipes : dict
        Class → recipe, as the manifest has it: the checkpoints must still be those.
    pictures : sequence of Picture

    Raises
    ------
    VegasError
        They cannot be had here.
    """
    files = run["files"]
    if "embeddings" in files:
        place = Path(files["embeddings"][0]).parent
        return embeddings_file.FileFeed(embeddings_file.find_prompts(place)[place])
    device = devices.resolve_device(config.device)
    saved = load_adapter(
        {branch: _moved(path, config.adapter.checkpoint_dir) for branch, path in files["adapter"].items()}
    )
    same = {f"{branch}_adapter": sha256 for branch, sha256 in saved.sha256.items()}
    _unchanged(recipes, **same, renderer_fingerprint=flux.picture_fingerprint(config.renderer))
    targets: dict[str, Conditioning] = {}
    if "text" in config.conditioning.model_dump().values():
        labels = sorted(recipes)
        targets = text_targets(labels, config.renderer, Path(config.paths.cache).expanduser(), device).by_class(labels)
    if config.images.source == "recordings":
        _unchanged(recipes, encoder=encoders.fingerprint(config.encoder))
        audio = recordings_of(pictures, config, run["node"], device)
    else:
        audio = _samples(run, config, recipes)
    adapter = adapter_from(saved.header, saved.state, "the adapter")
    return AdapterFeed(audio, adapter, targets, config.conditioning, config.renderer.batch_size)


def _samples(run: dict[str, Any], config: Config, recipes: dict[str, Recipe]) -> Audio:
    """Samples of the generators."""
    generators = {
        label: load_class_generator(_moved(path, config.generator.checkpoint_dir))
        for label, path in run["files"]["generators"].items()
    }
    for label, recipe in recipes.items():
        _unchanged({label: recipe}, generator=generators[label].header["sha256"])
    if run["node"] == SERVER:
        return sampled_from_owners(generators)
    return sampled({label: generator.of(run["node"]) for label, generator in generators.items()})


def _unchanged(recipes: dict[str, Recipe], **now: str) -> None:
    """Refuse what is no longer as the recipes have it."""
    for label, recipe in recipes.items():
        for key, value in now.items():
            if recipe.get(key) != value:
                raise VegasError(f"its {key.replace('_', ' ')} is no longer the one {label} was drawn with")


def _recipes(folder: Path) -> dict[str, Recipe]:
    return {line["class"]: line["recipe"] for line in PictureFolder(folder, {}).lines().values()}


def _moved(path: str, folder: str) -> Path:
    """A checkpoint where it was, or in the folder that is configured now."""
    return Path(path) if Path(path).is_file() else Path(folder) / Path(path).name


def _reproduce(report: Report, config: Config, feed: Feed, pictures: Sequence[Picture]) -> None:
    lines = PictureFolder(report.folder, {}).lines()
    brush = painter(config.renderer, devices.resolve_device(config.device))
    with devices.threads(drawing_threads(config.renderer)):
        images = brush.paint(feed(pictures), [picture.seed for picture in pictures])
    for picture, image in zip(pictures, images, strict=True):
        path = report.folder / picture.name
        with Image.open(path) as old:
            before, after = np.asarray(old.convert("RGB"), np.int16), np.asarray(image.convert("RGB"), np.int16)
        difference = int(np.abs(before - after).max()) if before.shape == after.shape else 255
        if difference == 0:
            report.identical += 1
        elif difference <= TOLERANCE:
            report.close += 1
        else:
            report.problems.append(
                f"{path}: made again it is another picture (up to {difference} of 255); "
                f"recipe: {json.dumps(lines[picture.name]['recipe'])}"
            )


def spread(total: int, count: int) -> list[int]:
    """``count`` positions, evenly spread over ``total``."""
    count = min(total, count)
    return sorted({round(i * (total - 1) / max(1, count - 1)) for i in range(count)})


def _chunk(path: Path) -> dict[str, Any]:
    """What the picture says of itself."""
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            chunk: dict[str, Any] = json.loads(image.text["vegas-fl"])  # type: ignore[attr-defined]
            return chunk
    except (OSError, KeyError, ValueError, AttributeError):
        return {}
