"""Many pictures: kills at any moment, and Flower's long jobs."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command import vegas
from tests.support.pictures import hashes


@pytest.mark.slow
@pytest.mark.long
def test_a_thousand_pictures_survive_ten_kills(base: list[str], tmp_path: Path) -> None:
    many = [*base, "nodes.0.samples_per_node=700", "nodes.1.samples_per_node=300", "images.sheet_columns=0"]
    many += ["renderer.batch_size=20", "nodes.1.selected_classes=[chainsaw,dog]"]
    vegas(tmp_path, *many, f"images_output_dir={tmp_path / 'whole'}")
    moments = random.Random(1)
    kills = 0
    while kills < 10:
        before = len(hashes(tmp_path / "out"))
        target = before + moments.randint(1, 90)
        command = [sys.executable, "-m", "vegas_fl", *many]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and len(list((tmp_path / "out").glob("*/*.png"))) < target:
                time.sleep(0.005)
            assert process.poll() is None, "it ended before it could be killed"
            process.kill()
        kills += 1
        assert before <= len(list((tmp_path / "out").glob("*/*.png"))) < 1000
    vegas(tmp_path, *many)
    whole = hashes(tmp_path / "whole")
    assert len(whole) == 1000 and hashes(tmp_path / "out") == whole


@pytest.mark.slow
@pytest.mark.long
def test_flower_draws_the_same_bytes_and_tells_how_far_it_is(base: list[str], tmp_path: Path) -> None:
    # One at a time, so that drawing takes several times as long as loading: a node answers no sooner.
    counts = ["nodes.0.samples_per_node=400", "nodes.1.samples_per_node=20", "images.report_seconds=0.01"]
    counts.append("renderer.batch_size=1")
    vegas(tmp_path, *base, *counts)
    command = [sys.executable, "-m", "vegas_fl", *base, *counts, "engine=flower"]
    command.append(f"images_output_dir={tmp_path / 'flower'}")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=True)
    assert hashes(tmp_path / "flower") == hashes(tmp_path / "out")
    assert re.search(r"node [01]: \d+ of \d+ pictures, .* a second, about", done.stdout + done.stderr)
