"""A node's pictures on disk: planned by name, written one by one, and known by what made them.

``<images_output_dir>/node_<i>/<class>_0001.png …`` and ``manifest.jsonl`` with a line a picture. A picture
counts as made when its manifest line names the same recipe and the hash of its file; everything else is made
anew, so a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegas_fl.errors import VegasError
from vegas_fl.seeds import derive_seed
from vegas_fl.splits import split_evenly
from vegas_fl.tensorfiles import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

Recipe = dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """The ``index``-th (from 1) picture of class ``label`` on a node, and the seed of everything random in it."""

    label: str
    index: int
    seed: int

    @property
    def name(self) -> str:
        """Its file's name: dog_0001.png."""
        return f"{self.label}_{self.index:04d}.png"


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
        made = dict(self._manifest())
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
        remedy = "choose another images_output_dir, or set images.overwrite=true to make all anew"
        if strangers:
            raise VegasError(
                f"{self.path} holds {len(strangers)} pictures this run does not make, {strangers[0]} for one; {remedy}"
            )
        if others:
            name, difference = next(iter(others.items()))
            raise VegasError(
                f"{self.path} holds {len(others)} pictures made otherwise, {name} for one: {difference}; {remedy}"
            )
        return [p for p in pictures if p.name not in made or not self._intact(p.name, made[p.name]["sha256"])]

    def save(self, picture: Picture, image: Image) -> None:
        """Write a picture, with its recipe as a PNG text chunk, and its manifest line."""
        from PIL.PngImagePlugin import PngInfo

        recipe = self.recipes[picture.label]
        info = PngInfo()
        info.add_text(
            "vegas-fl",
            json.dumps({"class": picture.label, "index": picture.index, "seed": picture.seed, **recipe}),
        )
        buffer = io.BytesIO()
        image.save(buffer, "PNG", pnginfo=info)
        data = buffer.getvalue()
        write_atomically(self.path / picture.name, data)
        line = {
            "file": picture.name,
            "class": picture.label,
            "index": picture.index,
            "seed": picture.seed,
            "sha256": hashlib.sha256(data).hexdigest(),
            "recipe": recipe,
        }
        with open(self.manifest, "a", encoding="utf8") as file:
            if file.tell() and not self._ends_with_newline():
                file.write("\n")
            file.write(json.dumps(line) + "\n")

    def _difference(self, made: Recipe, picture: Picture) -> str | None:
        wanted = self.recipes[picture.label]
        for key in sorted(set(made) | set(wanted)):
            if made.get(key) != wanted.get(key):
                return f"{key} is {made.get(key)!r} there and {wanted.get(key)!r} here"
        return None

    def _manifest(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """File name → manifest line; a line cut short by a kill is passed over, its picture is made again."""
        if not self.manifest.exists():
            return
        for line in self.manifest.read_text(encoding="utf8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            yield entry["file"], entry

    def _ends_with_newline(self) -> bool:
        with open(self.manifest, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _intact(self, name: str, sha256: str) -> bool:
        path = self.path / name
        return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256
