"""Folders of runs, written by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

Lines = Sequence[dict[str, Any] | str]


def write_run(folder: Path, lines: Lines, **config: Any) -> Path:
    """A run's folder with these lines of metrics."""
    folder.mkdir(parents=True)
    text = [line if isinstance(line, str) else json.dumps({"time": 1e9 + i, **line}) for i, line in enumerate(lines)]
    (folder / "metrics.jsonl").write_text("\n".join(text) + "\n", "utf8")
    (folder / "config.yaml").write_text(yaml.safe_dump({"run": folder.name, **config}), "utf8")
    return folder
