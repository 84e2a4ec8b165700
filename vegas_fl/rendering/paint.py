"""A picture for any recording, with the adapters of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vegas_fl.audio import encoders
from vegas_fl.audio.clips import FileClip
from vegas_fl.audio.embeddings import embed
from vegas_fl.config import Config
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError
from vegas_fl.core.seeds import derive_seed
from vegas_fl.data.classes import WORDS, prompt, words
from vegas_fl.rendering import flux
from vegas_fl.rendering.folder import Picture, PictureFolder
from vegas_fl.rendering.jobs import AdapterFeed, recorded, renderer_entries
from vegas_fl.rendering.painter import painter, rendering_threads
from vegas_fl.rendering.text_targets import text_targets
from vegas_fl.storage.adapters import SavedAdapter, adapter_from, load_newest
from vegas_fl.storage.names import adapter_rounds

NEAREST = 3
"""Number of classes named for a recording."""


@dataclass(frozen=True)
class Painted:
    """A picture, and the classes whose text targets are nearest to the adapter's output.

    Attributes
    ----------
    nearest : list of (class, distance)
        Distance of the CLIP branch, in units of the mean distance between the classes.
    """

    sound: Path
    picture: Path
    nearest: list[tuple[str, float]]


def paint(sounds: Sequence[Path], config: Config, output: Path) -> list[Painted]:
    """Draw a picture for each recording.

    Parameters
    ----------
    sounds : sequence of Path
    config : Config
        Its ``adapter.checkpoint_dir`` holds the adapters, of which ``images.round`` selects one.
    output : Path
        Folder of the pictures, which are named like the recordings.

    Raises
    ------
    VegasError
        No adapter was found, it was trained for another encoder or renderer, or a recording cannot be used.
    """
    names = [sound.stem for sound in sounds]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise VegasError(
            f"two recordings are named {twice[0]}, so their pictures would have the same name; paint them one by one"
        )
    _, saved = load_newest(adapter_rounds(config))
    _check_spaces(config, saved)
    device = devices.resolve_device(config.device)
    cache = Path(config.paths.cache).expanduser()
    clips = [FileClip(sound.stem, str(sound), None, sound) for sound in sounds]
    audio = embed(
        clips, config.encoder, cache_dir=cache / "embeddings", max_seconds=config.data.max_seconds, device=device
    )
    contents = [clip.content() for clip in clips]
    labels = _classes(saved)
    targets = text_targets(labels, config.renderer, cache, device)
    adapter = adapter_from(saved.header, saved.state, "the adapter")
    feed = AdapterFeed(
        recorded(dict(zip(contents, audio, strict=True))), adapter, {}, config.conditioning, config.renderer.batch_size
    )
    pictures = [
        Picture(c.label, 1, derive_seed(config.seed, "paint", k), k) for c, k in zip(clips, contents, strict=True)
    ]
    with rendering_threads(config.renderer):
        conditioning = feed(pictures)
        images = painter(config.renderer, device).paint(conditioning, [picture.seed for picture in pictures])
    recipe = _recipe(config, saved)
    painted = []
    for sound, picture, image, row in zip(sounds, pictures, images, adapter(audio).clip, strict=True):
        path = output / f"{sound.stem}.png"
        PictureFolder.write(path, image, {"clip": picture.clip, "seed": picture.seed, **recipe})
        painted.append(Painted(sound, path, nearest_classes(row.detach(), targets.clip, labels)))
    return painted


def nearest_classes(output: torch.Tensor, targets: torch.Tensor, labels: Sequence[str]) -> list[tuple[str, float]]:
    """The classes whose ``targets`` [K, P] are nearest to an adapter's ``output`` [P], with their distances in units of
    the mean distance between targets."""
    distances = (targets - output).norm(dim=1) / torch.nn.functional.pdist(targets).mean()
    order = distances.argsort()[:NEAREST]
    return [(labels[int(i)], float(distances[i])) for i in order]


def describe(painted: Painted) -> str:
    """A line for the terminal."""
    near = ", ".join(f"{words(label)} ({distance:.2f})" for label, distance in painted.nearest)
    return f"{painted.sound} -> {painted.picture}; nearest: {near}"


def _check_spaces(config: Config, saved: SavedAdapter) -> None:
    """Raise :class:`VegasError` if the adapters were trained for another encoder or renderer."""
    spaces: dict[str, Any] = saved.header["spaces"]
    ours = {"audio": encoders.fingerprint(config.encoder), "text": flux.text_fingerprint(config.renderer)}
    keys = {"audio": "encoder", "text": "renderer"}
    for space, fingerprint in ours.items():
        if spaces[space] != fingerprint:
            raise VegasError(
                f"these adapters were trained with another {keys[space]} ({spaces[space]}, not {fingerprint}); add "
                f"the {keys[space]}=… of their run (runs/<run>/config.yaml)"
            )


def _classes(saved: SavedAdapter) -> list[str]:
    """The classes the adapter was trained for, and others if they are fewer than NEAREST."""
    trained = sorted(saved.header.get("samples", {}))
    others = [name for name in WORDS if prompt(name) not in {prompt(label) for label in trained}]
    unique = list({prompt(name): name for name in others}.values())
    return trained + unique[: max(0, NEAREST - len(trained))]


def _recipe(config: Config, saved: SavedAdapter) -> dict[str, Any]:
    return {
        "source": "recording",
        "run_seed": config.seed,
        "conditioning": config.conditioning.model_dump(),
        **saved.hashes,
        **renderer_entries(config.renderer),
    }


def stored_sections(folder: Path) -> dict[str, Any]:
    """The sections ``encoder``, ``renderer`` and ``data`` of a run's stored configuration; empty if there is none."""
    from omegaconf import OmegaConf

    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    values = json.loads(json.dumps(OmegaConf.to_container(OmegaConf.load(path))))
    return {key: values[key] for key in ("encoder", "renderer", "data") if key in values}
