"""``run.json`` in a folder of pictures: the information to check them, and to draw them again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError, explained
from vegas_fl.core.files import read_text, write_atomically
from vegas_fl.rendering.folder import MANIFEST

if TYPE_CHECKING:
    from vegas_fl.rendering.jobs import Job

NAME = "run.json"


def write_runfile(job: Job, config: Config) -> None:
    """Write the file of a job with the resolved configuration, unless it exists with the same content."""
    counts = Counter(picture.label for picture in job.pictures)
    values = {
        "node": job.node,
        "pictures": counts,
        "files": job.files,
        "adapter": job.adapter,
        "config": config.model_dump(mode="json"),
    }
    data = (json.dumps(values, indent=1) + "\n").encode()
    path = job.path / NAME
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


class Files(BaseModel):
    """The checkpoints, or the files of embeddings, that pictures were drawn from."""

    model_config = ConfigDict(strict=True, extra="forbid")
    adapter: dict[Literal["clip", "t5"], str] = {}
    generators: dict[str, str] = {}
    embeddings: list[str] = []


class RunFile(BaseModel):
    """The content of the file: whose pictures, how many of each class, from which files, by which configuration."""

    model_config = ConfigDict(strict=True, extra="ignore")
    node: Annotated[str, Field(pattern=r"^([0-9]{1,9}|server)$")]
    pictures: dict[Annotated[str, Field(min_length=1, max_length=255)], Annotated[int, Field(ge=0, le=10**6)]]
    files: Files
    config: dict[str, Any]


def read_runfile(folder: Path) -> RunFile:
    """Read the file of a folder.

    Raises
    ------
    VegasError
        It is missing or damaged.
    """
    path = folder / NAME
    try:
        return RunFile.model_validate_json(read_text(path))
    except OSError as error:
        reason = str(error)
    except ValidationError as error:
        reason = explained(error)
    except ValueError as error:  # not text
        reason = str(error)
    raise VegasError(f"{path} cannot be read ({reason}); run the command that drew the pictures again to rewrite it")


def find_folders(place: Path) -> list[Path]:
    """Folders of pictures at or below ``place``.

    Raises
    ------
    VegasError
        None was found.
    """
    found = sorted({path.parent for name in (NAME, MANIFEST) for path in place.rglob(name)})
    if not found:
        raise VegasError(
            f"{place} holds no pictures of a run (no {NAME}); give an images_output_dir or a node's folder"
        )
    return found
