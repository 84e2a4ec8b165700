"""What more nodes cost the server: time of one distillation, and peak memory of a whole run in one process."""

import tempfile
from pathlib import Path

from vegas_fl.benchmarks.runs import apart, markdown, peak_bytes, run_in, toy_nodes

QUICK = ["stages=[generators,adapters]", "generator.epochs=5", "adapter.local_epochs=1", "evaluation.split=none"]


def distillation(nodes: int) -> tuple[float, float]:
    """Train and distil ``nodes`` nodes of one toy class each; seconds of the distillation, and the peak memory (GB).

    Training is short, because only the server is measured; the nodes run one after the other in the same process.
    """
    with tempfile.TemporaryDirectory() as folder:
        lines = run_in(Path(folder), [*toy_nodes(nodes, samples=20), *QUICK, "run=scale"])
    (seconds,) = (line["seconds"] for line in lines if line["stage"] == "kd")
    return seconds, peak_bytes() / 1e9


def table(counts: tuple[int, ...]) -> str:
    """A Markdown row per number of nodes."""
    measured = {count: apart(distillation, count) for count in counts}
    first = measured[counts[0]][1]
    rows = [
        [str(count), f"{seconds:.1f} s", f"{memory:.2f} GB", f"{memory / first:.2f}"]
        for count, (seconds, memory) in measured.items()
    ]
    return markdown(["nodes", "distillation on the server", "peak memory", "of the first"], rows)
