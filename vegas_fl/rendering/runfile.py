"""``run.json`` in a folder of pictures: what it takes to check them, and to make them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically
from vegas_fl.rendering.jobs import Job

NAME = "run.json"


def write_runfile(job: Job, config: Config) -> None:
    """Write it, unless it is there as it should be.

    Parameters
    ----------
    job : Job
    config : Config
        Resolved; its renderer, conditioning and seed made the pictures.
    """
    counts: dict[str, int] = {}
    for picture in job.pictures:
        counts[picture.label] = counts.get(picture.label, 0) + 1
    values = {"node": job.node, "pictures": counts, "files": job.files, "config": config.model_dump(mode="json")}
    data = (json.dumps(values, indent=1) + "\n").encode()
    path = job.path / NAME
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


def read_runfile(folder: Path) -> dict[str, Any]:
    """Read it.

    Raises
    ------
    VegasError
        It is absent or damaged.
    """
    path = folder / NAME
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf8"))
        if {"node", "pictures", "files", "config"} <= set(values):
            return values
        reason = "entries are missing"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise VegasError(f"{path} cannot be read ({reason}); run the command that drew the pictures again, it is rewritten")
