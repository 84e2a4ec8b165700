"""The project's own files: where they lie, and the names of its experiments."""

from __future__ import annotations

import functools
from pathlib import Path

from vegas_fl.config import Config, compose

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


@functools.cache
def experiment(name: str) -> Config:
    """An experiment as it is without overrides; composing takes a while, so once a process."""
    return compose([f"experiment={name}"])


def step(name: str) -> str:
    """The override that chooses a step of the guide's workflow."""
    return f"experiment=a2v_vegas_2n_2c_200s_{name}"
