"""What a node costs a round beside its own work: messages, checks, checkpoints, averaging.

Nodes of one toy clip each train for a single step; how long a node works for that, it says itself, and that is taken
off. The first round, in which nodes listen to their clips, does not count.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from vegas_fl.data.datasets.recipes import RECIPES

TRIVIAL = [
    *("run=overhead", "stages=[adapters]", "aggregation=fedavg", "adapter.local_epochs=1", "evaluation.split=none"),
    *("data.clips_per_class=100", "federation.wait=600"),
]
SIZES = {
    "trivial": ["adapter.width=8", "adapter.heads=1", "adapter.hidden=8"],
    "default": [],
}
"""Adapters of 0.14 MB and of 2.5 MB, in float32; half of that is sent."""


def overhead(nodes: int, rounds: int, engine: str, size: str) -> tuple[float, float]:
    """Milliseconds a node and round: beside its work, and of its work."""
    from vegas_fl.config import compose
    from vegas_fl.engines.run import run

    classes = sorted(RECIPES)
    entries = [
        f"nodes.{i}={{selected_classes: [{classes[i % len(classes)]}], samples_per_node: 1}}" for i in range(nodes)
    ]
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"paths.{key}={folder}/{key}" for key in ("checkpoints", "runs", "cache")]
        run(compose([*TRIVIAL, *SIZES[size], *entries, *paths, f"rounds={rounds}", f"engine={engine}"]))
        kept = Path(folder) / "runs" / "overhead"
        steps = json.loads((kept / "state.json").read_text("utf8"))["steps"]
        lines = [json.loads(line) for line in (kept / "metrics.jsonl").read_text("utf8").splitlines()]
    seconds = steps[-1]["seconds"] - steps[0]["seconds"]
    worked = sum(x["worked"] for x in lines if x["stage"] == "adapters" and x.get("round", 1) > 1)
    at_once = 1 if engine == "inprocess" else os.cpu_count() or 1
    parts = nodes * (rounds - 1) / 1000
    return (seconds - worked / at_once) / parts, worked / parts


def table(nodes: int, rounds: int) -> str:
    """A row an engine, as Markdown."""
    rows = ["| engine | adapter | overhead a node and round | work of the node |", "|---|---|---|---|"]
    for engine in ("inprocess", "flower"):
        for size in SIZES:
            beside, work = overhead(nodes, rounds, engine, size)
            rows.append(f"| {engine} | {size} | {beside:.1f} ms | {work:.1f} ms |")
    return "\n".join(rows)
