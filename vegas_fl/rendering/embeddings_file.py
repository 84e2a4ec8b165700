"""``images.output=embeddings``: the inputs of FLUX as files, to draw the pictures on another machine.

``node_<i>/embeddings_0001.safetensors …``, each with the embeddings of some pictures in float32, their names,
seeds and recipes, and the renderer's settings. At the same batch size, the pictures are byte-identical to those drawn
by the run itself.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError, explained
from vegas_fl.rendering.folder import REMEDY, Picture, Recipe, difference, remove_leftovers
from vegas_fl.rendering.jobs import SERVER, Job
from vegas_fl.rendering.painter import rendering_threads
from vegas_fl.rendering.render import RenderResult
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.provenance import MadeBy
from vegas_fl.storage.tensorfiles import State

KIND = "prompt embeddings"
FILES = "embeddings_*.safetensors"
FILE_BYTES = 64 * 2**20
"""Approximate size of a file."""


def write_embeddings(job: Job, config: Config, *, overwrite: bool = False) -> RenderResult:
    """Write the embeddings of a job's pictures; existing files that are intact are kept.

    Raises
    ------
    VegasError
        The folder holds embeddings of other pictures or checkpoints, and ``overwrite`` is false.
    """
    one = job.feed(job.pictures[:1])
    wanted = files_of(job.path, job.pictures, one.clip.nbytes + one.t5.nbytes)
    remove_leftovers(job.path)
    if overwrite:
        for path in job.path.glob(FILES):
            path.unlink()
    elif found := refusal(job.path, wanted, job.node, job.recipes):
        raise VegasError(found)
    kept = {path for path in wanted if path.is_file() and not _damaged(path)}
    new = 0
    for path, part in wanted.items():
        if path not in kept:
            with rendering_threads(config.renderer):
                tensorfiles.save(path, job.feed(part)._asdict(), _header(job, config, part))
            new += len(part)
    return RenderResult(len(job.pictures), new, 0)


def files_of(folder: Path, pictures: Sequence[Picture], bytes_each: int) -> dict[Path, Sequence[Picture]]:
    """The files for the embeddings of ``pictures``, and the part of them that each holds."""
    size = max(1, FILE_BYTES // bytes_each)
    parts = [pictures[start : start + size] for start in range(0, len(pictures), size)]
    return {folder / f"embeddings_{i:04d}.safetensors": part for i, part in enumerate(parts, start=1)}


def refusal(
    folder: Path, wanted: Mapping[Path, Sequence[Picture]], node: str, recipes: Mapping[str, Recipe]
) -> str | None:
    """Why the files ``wanted`` cannot be written: ``folder`` holds embeddings of other pictures or checkpoints."""
    for path in sorted(folder.glob(FILES)):
        if path not in wanted:
            reason = "this run does not write it"
        elif _damaged(path) or not (reason := _difference(_read_header(path), wanted[path], node, recipes)):
            continue
        return f"{path} holds other embeddings ({reason}); {REMEDY}"
    return None


class Prompts(NamedTuple):
    """The embeddings of one folder: pictures by file, and the entries that the files' headers share."""

    files: dict[Path, list[Picture]]
    node: str
    recipes: dict[str, dict[str, Any]]
    renderer: dict[str, Any]
    adapter: MadeBy

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        return [picture for part in self.files.values() for picture in part]


def find_prompts(place: Path) -> dict[Path, Prompts]:
    """Folders at or below ``place`` that hold embeddings; only headers are read.

    Raises
    ------
    VegasError
        None was found, or a file cannot be read.
    """
    paths = [place] if place.is_file() else sorted(place.rglob(FILES))
    if not paths:
        raise VegasError(
            f"{place} holds no embeddings (embeddings_0001.safetensors …); give a folder that a run with "
            "images.output=embeddings wrote"
        )
    folders: dict[Path, dict[Path, Header]] = {}
    for path in paths:
        folders.setdefault(path.parent, {})[path] = _read_header(path)
    found = {}
    for folder, headers in folders.items():
        first = next(iter(headers.values()))
        for path, header in headers.items():
            for key in ("node", "recipes", "renderer"):
                if getattr(header, key) != getattr(first, key):
                    raise VegasError(f"{path} and {next(iter(headers))} were written by different runs (other {key})")
        files = {path: [Picture(*entry) for entry in header.pictures] for path, header in headers.items()}
        found[folder] = Prompts(files, first.node, first.recipes, first.renderer, first.adapter)
    return found


class FileFeed:
    """Embeddings from files, one file at a time in memory."""

    def __init__(self, prompts: Prompts) -> None:
        self._where = {p.name: (path, row) for path, part in prompts.files.items() for row, p in enumerate(part)}
        self._counts = {path: len(part) for path, part in prompts.files.items()}
        self._load = functools.lru_cache(maxsize=1)(self._read)

    def __call__(self, pictures: Sequence[Picture]) -> Conditioning:
        rows = [self._row(picture.name) for picture in pictures]
        return Conditioning(*(torch.stack([row[name] for row in rows]) for name in Conditioning._fields))

    def _read(self, path: Path) -> State:
        tensors = tensorfiles.load(path, kind=KIND).tensors
        shapes = {name: (tensor.ndim, len(tensor)) for name, tensor in tensors.items() if tensor.ndim}
        wanted = {"clip": (2, self._counts[path]), "t5": (3, self._counts[path])}
        if shapes != wanted:
            raise VegasError(
                f"{path} does not hold what its header says: expected clip and t5 of {self._counts[path]} pictures; "
                "write the embeddings again"
            )
        return tensors

    def _row(self, name: str) -> dict[str, torch.Tensor]:
        if name not in self._where:
            raise VegasError(f"the embeddings of {name} are not in {', '.join(map(str, self._counts))}")
        path, row = self._where[name]
        return {branch: tensor[row] for branch, tensor in self._load(path).items()}


def _header(job: Job, config: Config, part: Sequence[Picture]) -> dict[str, Any]:
    return {
        "kind": KIND,
        "node": job.node,
        "pictures": [_entry(p) for p in part],
        "recipes": job.recipes,
        "adapter": job.adapter,
        "renderer": config.renderer.model_dump(mode="json"),
    }


Name = Annotated[str, Field(pattern=r"^[^/\x00]{1,255}$")]


class Header(BaseModel):
    """What the header of a file says: whose pictures, which ones (class, index, seed, recording), and how to draw
    them."""

    model_config = ConfigDict(strict=True, extra="ignore")
    node: Annotated[str, Field(pattern=rf"^([0-9]{{1,9}}|{SERVER})$")]
    pictures: list[tuple[Name, Annotated[int, Field(ge=1)], Annotated[int, Field(ge=0, lt=2**63)], Name | None]]
    recipes: dict[Name, dict[str, Any]]
    renderer: dict[str, Any]
    adapter: MadeBy = {}

    @model_validator(mode="after")
    def _complete(self) -> Header:
        if not self.pictures:
            raise ValueError("expected pictures, got none")
        if absent := {label for label, *_ in self.pictures} - set(self.recipes):
            raise ValueError(f"expected a recipe of each class, got none of {', '.join(sorted(absent))}")
        return self


def _read_header(path: Path) -> Header:
    try:
        header = tensorfiles.load_header(path)
        if header.get("kind") != KIND:
            raise VegasError(f"{path} does not hold embeddings; give a folder written with images.output=embeddings")
        return Header.model_validate_json(json.dumps(header))
    except tensorfiles.Damaged as error:
        raise VegasError(f"{error}; write the embeddings again") from error
    except ValidationError as error:
        raise VegasError(f"{path} has an invalid header ({explained(error)}); write the embeddings again") from error


def _damaged(path: Path) -> bool:
    try:
        tensorfiles.load(path)
    except VegasError:
        return True
    return False


def _difference(there: Header, pictures: Sequence[Picture], node: str, recipes: Mapping[str, Recipe]) -> str:
    if there.node != node or there.pictures != [_entry(p) for p in pictures]:
        return "other pictures"
    if set(there.recipes) != set(recipes):
        return "other classes"
    return next((found for label in recipes if (found := difference(there.recipes[label], recipes[label]))), "")


def _entry(picture: Picture) -> tuple[str, int, int, str | None]:
    return picture.label, picture.index, picture.seed, picture.clip
