"""A whole run with an AST, a FLUX and a CLIP of their true shapes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from vegas_fl.benchmarks import standins

GB = 1e9


@pytest.mark.slow
def test_a_run_at_true_shapes_stays_below_8_gb(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", standins.__name__, str(tmp_path)], capture_output=True, text=True, check=True
    )
    models = json.loads(made.stdout.splitlines()[-1])
    settings = [
        *("experiment=demo", "encoder=ast", "adapter=attention", "renderer=flux_schnell", "device=cpu"),
        *(f"encoder.model={models['ast']}", f"renderer.model={models['flux']}", f"renderer.judge={models['judge']}"),
        *("run=true", "samples_per_node=2", "data.clips_per_class=4", "renderer.steps=1", "renderer.batch_size=1"),
        *("generator.epochs=1", "adapter.local_epochs=1", "aggregation.epochs=1", "aggregation.samples_per_class=4"),
        *("renderer.height=256", "renderer.width=256", f"paths.cache={tmp_path / 'cache'}"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "vegas_fl", *settings], cwd=tmp_path, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(list((tmp_path / "output_images" / "true").rglob("node_*/*.png"))) == 4
    assert "judged" in done.stdout + done.stderr or "right" in done.stdout + done.stderr
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert peak < 8 * GB, f"{peak / GB:.1f} GB"
