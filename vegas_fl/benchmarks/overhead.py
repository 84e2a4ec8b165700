"""What a node costs a round beside its training: messages, checks, checkpoints, averaging.

Nodes of one toy clip each train for a single step; what that takes (:func:`vegas_fl.training.train_adapter`) is taken
off. The first round, in which nodes listen to their clips, does not count.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from vegas_fl.datasets.toy import HEARD_AS

TRIVIAL = [
    *("run=overhead", "stages=[adapters]", "aggregation=fedavg", "adapter.local_epochs=1", "evaluation.split=none"),
    *("data.clips_per_class=100", "federation.wait=600"),
]


def overhead(nodes: int, rounds: int, engine: str) -> tuple[float, float]:
    """Milliseconds a node and round: beside the training, and of the training."""
    from vegas_fl.cli import run
    from vegas_fl.config import compose

    classes = list(HEARD_AS)
    entries = [
        f"nodes.{i}={{selected_classes: [{classes[i % len(classes)]}], samples_per_node: 1}}" for i in range(nodes)
    ]
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"paths.{key}={folder}/{key}" for key in ("checkpoints", "runs", "cache")]
        run(compose([*TRIVIAL, *entries, *paths, f"rounds={rounds}", f"engine={engine}"]))
        kept = Path(folder) / "runs" / "overhead"
        steps = json.loads((kept / "state.json").read_text("utf8"))["steps"]
        lines = [json.loads(line) for line in (kept / "metrics.jsonl").read_text("utf8").splitlines()]
    seconds = steps[-1]["seconds"] - steps[0]["seconds"]
    trained = sum(x["training"]["seconds"] for x in lines if x["stage"] == "adapters" and x.get("round", 1) > 1)
    at_once = 1 if engine == "inprocess" else os.cpu_count() or 1
    parts = nodes * (rounds - 1) / 1000
    return (seconds - trained / at_once) / parts, trained / parts


def table(nodes: int, rounds: int) -> str:
    """A row an engine, as Markdown."""
    rows = ["| engine | overhead a node and round | training |", "|---|---|---|"]
    for engine in ("inprocess", "flower"):
        beside, training = overhead(nodes, rounds, engine)
        rows.append(f"| {engine} | {beside:.1f} ms | {training:.1f} ms |")
    return "\n".join(rows)
