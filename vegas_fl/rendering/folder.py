"""A node's pictures on disk: planned by name, written one by one, and known by what made them.

``<images_output_dir>/node_<i>/<class>_0001.png …`` and ``manifest.jsonl`` with a line a picture. A picture
counts as made when its manifest line names the same recipe and the hash of its file; everything else (cut short,
changed, or without a line) is made anew, so a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically
from vegas_fl.core.seeds import derive_seed
from vegas_fl.data.splits import split_evenly

if TYPE_CHECKING:
    from PIL.Image import Image

Recipe = dict[str, Any]

NEEDED = {"file", "class", "seed", "sha256", "recipe"}
"""What a line of the manifest must tell."""


@dataclass(frozen=True)
class Picture:
    """A picture to be made, and the seed of everything random in it.

    Attributes
    ----------
    label : str
        Its class.
    index : int
        It is the class's ``index``-th picture on its node, from 1.
    seed : int
    clip : str or None
        Hash of the recording it is drawn from; None: a sample of the generator.
    """

    label: str
    index: int
    seed: int
    clip: str | None = None

    @property
    def name(self) -> str:
        """Its file's name: dog_0001.png; of a recording, dog_3f2a9c1b7d04.png."""
        return f"{self.label}_{self.clip[:12] if self.clip else f'{self.index:04d}'}.png"


def plan(run_seed: int, node: str, classes: Sequence[str], count: int) -> list[Picture]:
    """The ``count`` pictures of a node, shared evenly by its classes.

    A picture's seed is a hash of the run's seed, the node, the class and the index: it does not depend on how
    many pictures there are, nor on the order they are made in.
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
    """Remove the halves of files that a run wrote when it was killed."""
    for rest in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            rest.unlink()


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what makes a picture."""
    found = {}
    for package in ("vegas-fl", "torch", "diffusers"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


class PictureFolder:
    """The folder of one node.

    Parameters
    ----------
    path : Path
    recipes : mapping
        Class → what its pictures are made with (hashes of checkpoints, renderer settings); JSON values.
    """

    def __init__(self, path: Path, recipes: dict[str, Recipe]) -> None:
        self.path, self.recipes = path, recipes
        self.manifest = path / "manifest.jsonl"

    def pending(self, pictures: Sequence[Picture], overwrite: bool) -> list[Picture]:
        """The pictures still to be made.

        Raises
        ------
        VegasError
            The folder holds pictures this run would not make, or made from something else, and ``overwrite``
            is false.
        """
        remove_leftovers(self.path)
        made = self.lines()
        present = {p.name for p in self.path.glob("*.png")}
        planned = {picture.name: picture for picture in pictures}
        strangers = sorted(present - set(planned))
        others = {
            name: difference
            for name in sorted(present & set(planned) & set(made))
            if (difference := self._difference(made[name]["recipe"], planned[name]))
        }
        if overwrite:
            for name in present:
                (self.path / name).unlink()
            self.manifest.unlink(missing_ok=True)
            return list(pictures)
        remedy = "choose another images_output_dir, or add --overwrite (images.overwrite=true) to make all anew"
        if strangers:
            raise VegasError(
                f"{self.path} holds {len(strangers)} pictures this run does not make, {strangers[0]} for one; {remedy}"
            )
        if others:
            name, difference = next(iter(others.items()))
            raise VegasError(
                f"{self.path} holds {len(others)} pictures made otherwise, {name} for one: {difference}; {remedy}"
            )
        return [p for p in pictures if p.name not in made or not self.intact(p.name, made[p.name]["sha256"])]

    def save(self, picture: Picture, image: Image, **drawn: Any) -> int:
        """Write a picture, with its recipe as a PNG text chunk, and its manifest line, which tells in addition how
        it was ``drawn`` (batch size, memory mode). Returns the size of its file in bytes.

        Raises
        ------
        VegasError
            The disk is full, or the folder cannot be written to.
        """
        recipe = self.recipes[picture.label]
        what: dict[str, Any] = {"class": picture.label, "index": picture.index, "seed": picture.seed}
        if picture.clip:
            what["clip"] = picture.clip
        data = self.write(self.path / picture.name, image, {**what, **recipe})
        line = {"file": picture.name, **what, "sha256": hashlib.sha256(data).hexdigest(), "recipe": recipe}
        self._append(json.dumps(line | {"versions": versions(), "drawn": drawn}))
        return len(data)

    @staticmethod
    def write(path: Path, image: Image, recipe: Recipe) -> bytes:
        """Write a PNG whose text chunk "vegas-fl" tells ``recipe`` and versions; its bytes.

        Raises
        ------
        VegasError
            The disk is full, or the folder cannot be written to.
        """
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        # Keys in order, so that the bytes do not depend on where a recipe was kept.
        info.add_text("vegas-fl", json.dumps({**recipe, "versions": versions()}, sort_keys=True))
        buffer = io.BytesIO()
        image.save(buffer, "PNG", pnginfo=info)
        data = buffer.getvalue()
        # Not forced to disk, which takes longer than drawing: what a power cut damages is found by its hash.
        write_atomically(path, data, durable=False)
        return data

    def _append(self, line: str) -> None:
        try:
            with open(self.manifest, "a", encoding="utf8") as file:
                if file.tell() and not self._ends_with_newline():
                    file.write("\n")
                file.write(line + "\n")
        except OSError as error:
            raise VegasError(
                f"{self.manifest} cannot be written ({error.strerror}); free the disk or choose another "
                "images_output_dir; pictures made so far are kept"
            ) from error

    def _difference(self, made: Recipe, picture: Picture) -> str | None:
        wanted = self.recipes[picture.label]
        for key in sorted(set(made) | set(wanted)):
            if made.get(key) != wanted.get(key):
                return f"{key} is {made.get(key)!r} there and {wanted.get(key)!r} here"
        return None

    def lines(self) -> dict[str, dict[str, Any]]:
        """File name → its last manifest line."""
        return dict(self._manifest())

    def _manifest(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """A line cut short by a kill, or without what is needed, is passed over: its picture is made again."""
        if not self.manifest.exists():
            return
        for line in self.manifest.read_text(encoding="utf8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(entry, dict) and entry.keys() >= NEEDED:
                yield entry["file"], entry

    def _ends_with_newline(self) -> bool:
        with open(self.manifest, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def intact(self, name: str, sha256: str) -> bool:
        """Whether a picture is there as it was written."""
        path = self.path / name
        return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256
