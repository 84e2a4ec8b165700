"""A run's result as lines of text: what its end prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vegas_fl.config import BRANCHES
from vegas_fl.runs.report.read import Run


def lines(runs: Sequence[Run]) -> list[str]:
    """Accuracy of every adapter in both branches; of several runs, with a column for the run."""
    names = labels(runs)
    rows = [
        (name, adapter, *(number((branches.get(branch) or {}).get("accuracy")) for branch in BRANCHES))
        for name, run in zip(names, runs, strict=True)
        for adapter, branches in run.final.items()
    ]
    text = []
    if rows:
        wide = max(len("run"), *(len(row[0]) for row in rows)) + 2 if len(runs) > 1 else 0
        adapter = max(12, *(len(row[1]) + 2 for row in rows))
        text.append("accuracy on unseen clips (nearest text target)")
        for row in [("run", "adapter", *BRANCHES), *rows]:
            text.append(f"{row[0]:<{wide}}"[:wide] + f"{row[1]:<{adapter}}{row[2]:>8}{row[3]:>8}")
    for name, run in zip(names, runs, strict=True):
        prefix = f"{name}: " if len(runs) > 1 else ""
        if run.judge:
            classes = len(run.judge.get("confusion") or [])
            text.append(
                f"{prefix}pictures judged right: {number(run.judge['accuracy'])} of {judged(run)}"
                f" (zero-shot among {classes} classes)"
            )
        if (purity := mean(run, "purity")) is not None:
            real = mean(run, "purity_ceiling")
            text.append(
                f"{prefix}generator purity: {number(purity)}" + (f" (real clips: {number(real)})" if real else "")
            )
    return text


def labels(runs: Sequence[Run]) -> list[str]:
    """What the runs are called: by name, or by folder where names are the same."""
    names = [run.name for run in runs]
    return [run.name if names.count(run.name) == 1 else str(run.folder) for run in runs]


def number(value: Any, digits: int = 3) -> str:
    """A figure, or a dash for one that is missing or not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return "-"
    return f"{value:.{digits}f}"


def judged(run: Run) -> int:
    """How many pictures were judged."""
    counts = (run.judge or {}).get("confusion")
    return sum(n for row in counts for n in row) if isinstance(counts, list) else 0


def mean(run: Run, key: str) -> float | None:
    """Mean over the classes of a figure of the generators' quality."""
    values = [line[key] for line in run.quality.values() if isinstance(line.get(key), int | float)]
    values = [value for value in values if value == value]
    return sum(values) / len(values) if values else None
