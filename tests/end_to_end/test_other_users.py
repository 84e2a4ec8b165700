"""Files and folders of another user, which cannot be read or written: a sentence that names them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sounds import write

CONFINED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
"""Root without its right to read and write what is not its own."""
SMALL = [
    *("run=u", "data=folder", "data.root=data", "nodes.0.selected_classes=[dog]", "nodes.1.selected_classes=[dog]"),
    *("stages=[generators]", "generator.epochs=1", "paths.cache=cache", "samples_per_node=4"),
]


def foreign(path: Path, mode: int) -> None:
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    else:
        mode &= 0o077
    path.chmod(mode)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root reads everything; needs setpriv")
@pytest.mark.parametrize(
    ("place", "mode"),
    [
        ("data/dog/0.wav", 0o600),
        ("data/dog", 0o700),
        ("data", 0o700),
        ("runs", 0o755),
        ("checkpoints", 0o755),
        ("cache", 0o755),
        ("runs/u/state.json", 0o600),
        ("runs/u/metrics.jsonl", 0o600),
        ("runs/u/.lock", 0o600),
    ],
)
def test_what_is_not_ours_is_named(tmp_path: Path, place: str, mode: int) -> None:
    for index in range(6):
        write(tmp_path / "data" / "dog" / f"{index}.wav")
    path = tmp_path / place
    if "." in path.name:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    else:
        path.mkdir(exist_ok=True)
    foreign(path, mode)
    command = [*(CONFINED if os.geteuid() == 0 else ()), sys.executable, "-m", "vegas_fl", *SMALL]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    finally:
        path.chmod(0o755)
    told = done.stdout + done.stderr
    assert "Traceback" not in told and place.rpartition("/")[2] in told, told
    assert done.returncode or place in ("cache", "runs/u/state.json"), told  # these are warned of, and made anew
