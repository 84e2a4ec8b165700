"""A node's pictures on disk: planned by name, written one by one, and identified by their recipes.

``<images_output_dir>/node_<i>/<class>_0001.png …`` and ``manifest.jsonl`` with a line for each picture. A picture
counts as done when its manifest line has the same recipe and the hash of its file; any other (truncated, changed, or
without a line) is drawn again, so a run that was killed continues where it stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import read_text
from vegas_fl.core.seeds import derive_seed
from vegas_fl.data.splits import split_evenly
from vegas_fl.rendering import picture_file
from vegas_fl.storage.provenance import MadeBy

if TYPE_CHECKING:
    from PIL.Image import Image

Recipe = dict[str, Any]
Manifest = dict[str, dict[str, Any]]
"""File name → line of ``manifest.jsonl``."""

MANIFEST = "manifest.jsonl"
UNKNOWN = "?"
"""Entry of a recipe that is not known yet: the hash of a checkpoint that is still to be trained."""
REMEDY = "choose another images_output_dir, or add --overwrite (images.overwrite=true) to draw all again"


@dataclass(frozen=True)
class Picture:
    """A planned picture, and the seed of everything random in it.

    Attributes
    ----------
    label : str
        Its class.
    index : int
        Its number among the class's pictures on its node, from 1.
    seed : int
    clip : str or None
        Hash of the recording it is drawn from; None: it is drawn from a sample of the generator.
    """

    label: str
    index: int
    seed: int
    clip: str | None = None

    @property
    def name(self) -> str:
        """File name: dog_0001.png; if drawn from a recording, dog_3f2a9c1b7d04.png."""
        return f"{self.label}_{self.clip[:12] if self.clip else f'{self.index:04d}'}.png"


def difference(made: Recipe, wanted: Recipe) -> str | None:
    """The first entry in which two recipes differ, in words; entries of ``wanted`` that are :data:`UNKNOWN` do not."""
    for key in sorted(set(made) | set(wanted)):
        if wanted.get(key) != UNKNOWN and made.get(key) != wanted.get(key):
            return f"{key} is {made.get(key)!r} there and {wanted.get(key)!r} here"
    return None


def plan(run_seed: int, node: str, classes: Sequence[str], count: int) -> list[Picture]:
    """The ``count`` pictures of a node, distributed evenly over its classes.

    A picture's seed is a hash of the run's seed, the node, the class and the index: it does not depend on how
    many pictures there are, nor on the order they are drawn in.
    """
    return [
        Picture(label, index, derive_seed(run_seed, "picture", node, label, index))
        for label, share in split_evenly(count, classes).items()
        for index in range(1, share + 1)
    ]


def plan_clips(run_seed: int, node: str, clips: Mapping[str, Sequence[str]]) -> list[Picture]:
    """A picture for each of a node's recordings, given by class as hashes of their content."""
    return [
        Picture(label, index, derive_seed(run_seed, "picture", node, label, content), content)
        for label, contents in clips.items()
        for index, content in enumerate(contents, start=1)
    ]


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a run that was killed."""
    for rest in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            rest.unlink()


class Drawn(BaseModel):
    """How a picture was drawn: with which adapter, batch size, memory mode."""

    model_config = ConfigDict(extra="allow")
    adapter: MadeBy = {}


class Line(BaseModel):
    """A line of the manifest."""

    model_config = ConfigDict(strict=True, extra="allow")
    file: Annotated[str, Field(pattern=r"^[^/\\\x00]{1,251}\.png$")]
    label: Annotated[str, Field(alias="class", pattern=r"^[^/\x00]{1,255}$")]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    recipe: Recipe
    drawn: Drawn = Drawn()
    clip: Annotated[str | None, Field(pattern=r"^[0-9a-f]{12,128}$")] = None


def read_manifest(folder: Path) -> Manifest:
    """The last line of each file, without lines that were cut short, lack an entry or have an invalid one: their
    pictures are drawn again.

    Raises
    ------
    VegasError
        The file cannot be read.
    """
    path = folder / MANIFEST
    lines: Manifest = {}
    try:
        texts = read_text(path, errors="replace").splitlines() if path.exists() else []
    except OSError as error:
        raise VegasError(f"{path} cannot be read ({error.strerror}); remove it to draw the pictures again") from error
    for text in texts:
        with contextlib.suppress(ValidationError):
            line = Line.model_validate_json(text)
            lines[line.file] = line.model_dump(by_alias=True, exclude_none=True)
    return lines


def intact(path: Path, sha256: str) -> bool:
    """Whether a picture exists as it was written."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


class PictureFolder:
    """The folder of one node.

    Parameters
    ----------
    path : Path
    recipes : mapping
        Class → how its pictures are made (hashes of checkpoints, renderer settings); JSON values.
    """

    def __init__(self, path: Path, recipes: dict[str, Recipe]) -> None:
        self.path, self.recipes = path, recipes
        self.manifest = path / MANIFEST

    def pending(self, pictures: Sequence[Picture], overwrite: bool) -> list[Picture]:
        """The pictures still to be drawn.

        Raises
        ------
        VegasError
            The folder holds pictures of other names or recipes, and ``overwrite`` is false.
        """
        remove_leftovers(self.path)
        if overwrite:
            for path in self.path.glob("*.png"):
                path.unlink()
            self.manifest.unlink(missing_ok=True)
        elif refusal := self.refusal(pictures):
            raise VegasError(refusal)
        return self.missing(pictures)

    def missing(self, pictures: Sequence[Picture]) -> list[Picture]:
        """The pictures that are not there as they were written."""
        made = read_manifest(self.path)
        return [p for p in pictures if p.name not in made or not intact(self.path / p.name, made[p.name]["sha256"])]

    def there(self) -> list[Picture]:
        """The pictures of the recipes' classes that the manifest names: for recordings, whose names are not known."""
        made = read_manifest(self.path)
        return [
            Picture(line["class"], line.get("index", 0), line["seed"], line.get("clip"))
            for line in made.values()
            if line["class"] in self.recipes and (self.path / line["file"]).is_file()
        ]

    def refusal(self, pictures: Sequence[Picture]) -> str | None:
        """Why ``pictures`` cannot be drawn into this folder: it holds pictures of other names or recipes."""
        made, present = read_manifest(self.path), {path.name for path in self.path.glob("*.png")}
        planned = {picture.name: picture for picture in pictures}
        if unknown := sorted(present - set(planned)):
            return (
                f"{self.path} holds {len(unknown)} pictures that are not part of this run, such as {unknown[0]}; "
                f"{REMEDY}"
            )
        others = {
            name: found
            for name in sorted(present & set(planned) & set(made))
            if (found := difference(made[name]["recipe"], self.recipes[planned[name].label]))
        }
        if others:
            name, found = next(iter(others.items()))
            return (
                f"{self.path} holds {len(others)} pictures drawn with other settings, such as {name}: {found}; {REMEDY}"
            )
        return None

    def encoded(self, picture: Picture, image: Image) -> bytes:
        """A picture as a PNG, with its recipe as a text chunk."""
        return picture_file.encoded(image, _chunk(picture, self.recipes[picture.label]))

    def save(self, picture: Picture, image: Image | bytes, **drawn: Any) -> int:
        """Write a picture, :meth:`encoded` already or not, and its manifest line, which also says how it was ``drawn``
        (batch size, memory mode). Returns the size of its file in bytes.

        Raises
        ------
        VegasError
            The disk is full, or the folder cannot be written to.
        """
        recipe = self.recipes[picture.label]
        data = picture_file.write(self.path / picture.name, image, _chunk(picture, recipe))
        hashed = {"sha256": hashlib.sha256(data).hexdigest(), "recipe": recipe}
        line = {"file": picture.name, **_chunk(picture, {}), **hashed}
        self._append(json.dumps(line | {"versions": picture_file.versions(), "drawn": drawn}))
        return len(data)

    def _append(self, line: str) -> None:
        try:
            with open(self.manifest, "ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    line = line if file.read(1) == b"\n" else f"\n{line}"
                file.write(f"{line}\n".encode())
        except OSError as error:
            raise VegasError(
                f"{self.manifest} cannot be written ({error.strerror}); free the disk or choose another "
                "images_output_dir; the pictures drawn so far are kept"
            ) from error


def _chunk(picture: Picture, recipe: Recipe) -> dict[str, Any]:
    """What a picture's text chunk says: which picture it is, and its recipe."""
    what = {"class": picture.label, "index": picture.index, "seed": picture.seed}
    return what | ({"clip": picture.clip} if picture.clip else {}) | recipe
