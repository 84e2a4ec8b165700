"""The project's own files: where they lie, and the names of its experiments."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


def step(name: str) -> str:
    """The override that chooses a step of the guide's workflow."""
    return f"experiment=a2v_vegas_2n_2c_200s_{name}"
