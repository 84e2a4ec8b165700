"""What more nodes cost the server: time of one distillation, and peak memory of a whole run in one process."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vegas_fl.benchmarks.memory import peak_bytes
from vegas_fl.data.datasets.recipes import RECIPES

QUICK = ["stages=[generators,adapters]", "generator.epochs=5", "adapter.local_epochs=1", "evaluation.split=none"]


@dataclass(frozen=True)
class Cost:
    """Seconds of the server's distillation, and peak memory of the run (GB)."""

    nodes: int
    seconds: float
    memory: float


def cost(nodes: int) -> Cost:
    """Train and distil ``nodes`` nodes of one toy class each, in a process of its own.

    Training is short, because only the server is measured; the nodes run one after the other in the same process.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_cost, (nodes,))


def _cost(nodes: int) -> Cost:
    from vegas_fl.config import compose
    from vegas_fl.engines.run import run

    classes = sorted(RECIPES)
    entries = [
        f"nodes.{i}={{selected_classes: [{classes[i % len(classes)]}], samples_per_node: 20}}" for i in range(nodes)
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = compose([*entries, *QUICK, "run=scale", f"paths.checkpoints={folder}", f"paths.runs={folder}"])
        run(config)
        lines = (Path(folder) / "scale" / "metrics.jsonl").read_text("utf8").splitlines()
    (seconds,) = (line["seconds"] for line in map(json.loads, lines) if line["stage"] == "kd")
    return Cost(nodes, seconds, peak_bytes() / 1e9)


def table(counts: tuple[int, ...]) -> str:
    """A row for each number of nodes, as Markdown."""
    costs = [cost(count) for count in counts]
    lines = ["| nodes | distillation on the server | peak memory | of the first |", "|---|---|---|---|"]
    lines += [
        f"| {c.nodes} | {c.seconds:.1f} s | {c.memory:.2f} GB | {c.memory / costs[0].memory:.2f} |" for c in costs
    ]
    return "\n".join(lines)
