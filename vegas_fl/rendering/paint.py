"""A picture for any recording, with the adapters of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import TypeAdapter

from vegas_fl.audio import encoders
from vegas_fl.audio.clips import FileClip
from vegas_fl.audio.embeddings import embed
from vegas_fl.config import Config
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import parse_yaml, read_text
from vegas_fl.core.names import shown
from vegas_fl.core.seeds import derive_seed
from vegas_fl.data.classes import WORDS, prompt, words
from vegas_fl.rendering import flux, picture_file
from vegas_fl.rendering.folder import Picture
from vegas_fl.rendering.jobs import AdapterFeed, recorded, renderer_entries
from vegas_fl.rendering.memory import first_line
from vegas_fl.rendering.painter import painter, rendering_threads
from vegas_fl.rendering.text_targets import text_targets
from vegas_fl.storage.adapters import SavedAdapter, adapter_from, load_newest
from vegas_fl.storage.names import adapter_rounds

NEAREST = 3
"""Number of classes named for a recording."""

FAR = 0.35
"""Distance to the nearest class from which a recording fits none. Of ten classes of sounds through adapters for two,
those two lie within 0.1, and most others between 0.35 and 0.55."""


@dataclass(frozen=True)
class Painted:
    """A picture, and the classes whose text targets are nearest to the adapter's output.

    Attributes
    ----------
    nearest : list of (class, distance)
        Distance of the CLIP branch, in units of the mean distance between the classes.
    trained : list of str
        The classes that the adapters were trained for.
    """

    sound: Path
    picture: Path
    nearest: list[tuple[str, float]]
    trained: list[str]


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
    if texts := [branch for branch, source in config.conditioning.model_dump().items() if source == "text"]:
        raise VegasError(
            f"conditioning.{texts[0]}=text draws a class's prompt, but a recording to paint has no class; choose "
            "adapter or none"
        )
    names = [sound.stem for sound in sounds]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise VegasError(
            f"two recordings are named {twice[0]}, so their pictures would have the same name; paint them one by one"
        )
    _, saved = load_newest(adapter_rounds(config))
    _check_spaces(config, saved)
    device = devices.resolve_device(config.device)
    cache = Path(config.paths.cache).expanduser()
    clips = [FileClip.at(sound, sound.stem) for sound in sounds]
    audio = embed(
        clips, config.encoder, cache_dir=cache / "embeddings", max_seconds=config.data.max_seconds, device=device
    )
    contents = [clip.content() for clip in clips]
    trained = sorted(saved.header.get("samples", {}))
    labels = _classes(trained)
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
        images = painter(config.renderer, device).paint(conditioning, [p.seed for p in pictures], [*map(str, sounds)])
    recipe = _recipe(config, saved)
    painted = []
    for sound, picture, image, row in zip(sounds, pictures, images, adapter(audio).clip, strict=True):
        path = output / f"{sound.stem}.png"
        picture_file.write(path, image, {"clip": picture.clip, "seed": picture.seed, **recipe})
        painted.append(Painted(sound, path, nearest_classes(row.detach(), targets.clip, labels), trained))
    return painted


def nearest_classes(output: torch.Tensor, targets: torch.Tensor, labels: Sequence[str]) -> list[tuple[str, float]]:
    """The classes whose ``targets`` [K, P] are nearest to an adapter's ``output`` [P], with their distances in units of
    the mean distance between targets."""
    distances = (targets - output).norm(dim=1) / torch.nn.functional.pdist(targets).mean()
    order = distances.argsort()[:NEAREST]
    return [(labels[int(i)], float(distances[i])) for i in order]


def describe(painted: Painted) -> str:
    """A line for the terminal, and a second one if no class fits."""
    near = ", ".join(f"{words(label)} at distance {distance:.2f}" for label, distance in painted.nearest)
    line = f"{shown(painted.sound)} -> {shown(painted.picture)}; nearest: {near}"
    nearest, distance = painted.nearest[0]
    if distance < FAR and (nearest in painted.trained or not painted.trained):
        return line
    known = f", which were trained for {', '.join(map(words, painted.trained))}" if painted.trained else ""
    return f"{line}\n  no class of these adapters fits this recording{known}: the picture may show anything"


DISTANCES = "distance 0: what the adapters should give for the class; 1: as far as two classes are apart (mean)"
"""What the distances of :func:`describe` mean."""


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


def _classes(trained: Sequence[str]) -> list[str]:
    """The classes the adapter was ``trained`` for, and others if they are fewer than NEAREST."""
    others = [name for name in WORDS if prompt(name) not in {prompt(label) for label in trained}]
    unique = list({prompt(name): name for name in others}.values())
    return [*trained, *unique[: max(0, NEAREST - len(trained))]]


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
    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    try:
        values = TypeAdapter(dict[str, Any]).validate_python(parse_yaml(read_text(path)))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise VegasError(f"{path} cannot be read ({first_line(error)}); give another run, or remove it") from error
    return {key: values[key] for key in ("encoder", "renderer", "data") if key in values}
