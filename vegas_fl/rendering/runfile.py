"""``run.json`` in a folder of pictures: the information to check them, and to draw them again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically
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


def read_runfile(folder: Path) -> dict[str, Any]:
    """Read the file of a folder.

    Raises
    ------
    VegasError
        It is missing or damaged.
    """
    path = folder / NAME
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf8"))
        if {"node", "pictures", "files", "config"} <= set(values):
            return values
        reason = "entries are missing"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise VegasError(f"{path} cannot be read ({reason}); run the command that drew the pictures again to rewrite it")
