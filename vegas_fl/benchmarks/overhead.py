"""The overhead per node and round: messages, checks, checkpoints, averaging.

Each node has one toy clip and trains for a single step. It reports how long that took, which is subtracted. The first
round, in which nodes embed their clips, does not count.
"""

import json
import os
import tempfile
from pathlib import Path

from vegas_fl.benchmarks.runs import markdown, run_in, toy_nodes

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
    """Milliseconds per node and round: the overhead, and the node's own work."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"rounds={rounds}", f"engine={engine}", f"paths.cache={folder}/cache"]
        lines = run_in(Path(folder), [*TRIVIAL, *SIZES[size], *toy_nodes(nodes, samples=1), *settings])
        steps = json.loads((Path(folder) / "runs/overhead/state.json").read_text("utf8"))["steps"]
    seconds = steps[-1]["seconds"] - steps[0]["seconds"]
    worked = sum(x["worked"] for x in lines if x["stage"] == "adapters" and x.get("round", 1) > 1)
    at_once = 1 if engine == "inprocess" else os.cpu_count() or 1
    parts = nodes * (rounds - 1) / 1000
    return (seconds - worked / at_once) / parts, worked / parts


def table(nodes: int, rounds: int) -> str:
    """A Markdown row per engine and size of the adapter."""
    rows = []
    for engine in ("inprocess", "flower"):
        for size in SIZES:
            beside, work = overhead(nodes, rounds, engine, size)
            rows.append([engine, size, f"{beside:.1f} ms", f"{work:.1f} ms"])
    return markdown(["engine", "adapter", "overhead a node and round", "work of the node"], rows)
