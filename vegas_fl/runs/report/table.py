"""A run's results as lines of text, printed when it ends."""

from collections.abc import Sequence
from typing import Any

from vegas_fl.config import BRANCHES
from vegas_fl.runs.report.answers import shared
from vegas_fl.runs.report.read import Line, Run, matrix, real


def lines(runs: Sequence[Run]) -> list[str]:
    """Accuracy of every adapter in both branches; of several runs, with a column for the run."""
    rows = [
        (name, adapter, *(number((branches.get(branch) or {}).get("accuracy")) for branch in BRANCHES))
        for name, run in named(runs)
        for adapter, branches in run.final.items()
    ]
    text = []
    if rows:
        wide = max(len("run"), *(len(row[0]) for row in rows)) + 2 if len(runs) > 1 else 0
        adapter = max(12, *(len(row[1]) + 2 for row in rows))
        text.append("accuracy on unseen clips (nearest text target)")
        for row in [("run", "adapter", *BRANCHES), *rows]:
            text.append(f"{row[0]:<{wide}}"[:wide] + f"{row[1]:<{adapter}}{row[2]:>8}{row[3]:>8}")
    for name, run in named(runs):
        prefix = f"{name}: " if len(runs) > 1 else ""
        if len(runs) == 1 and (answer := shared(run)):
            text.append(f"are shared adapters better than local ones? {answer[0]} {answer[1]}")
        if run.judge:
            text.append(f"{prefix}pictures judged{_verdict(run, run.judge)}")
        if measured := [f"{key} {beside(run, key)}" for key in ("purity", "recall") if mean(run, key) is not None]:
            text.append(f"{prefix}generators: {', '.join(measured)}")
    return text


def _verdict(run: Run, judge: Line) -> str:
    """The judge's figures; among one class there is none to get right."""
    classes = len(matrix(judge) or [])
    right = f" right: {number(judge['accuracy'])} of {judged(run)} (zero-shot among {classes} classes)"
    scores = [f"CLIP score {number(judge['clip_score'], 1)}"] if real(judge.get("clip_score")) is not None else []
    if (similar := real(judge.get("image_similarity"))) is not None:
        scores.append(f"similarity to the video {number(similar)}")
    compared = [f"{key.upper()} {number(judge[key])}" for key in ("fid", "kid") if real(judge.get(key)) is not None]
    scores += [f"{' and '.join(compared)} on {compared_on(judge)}"] if compared else []
    return "; ".join(filter(None, [right if classes > 1 else f": {judged(run)}", ", ".join(scores)]))


def compared_on(judge: Line) -> str:
    """Whose features FID and KID compare; a dash if there are none."""
    if real(judge.get("fid")) is None:
        return number(None)
    return "Inception's features" if judge.get("features") == "Inception" else "the judge's features"


def labels(runs: Sequence[Run]) -> list[str]:
    """The names of the runs, or their folders where names are the same."""
    names = [run.name for run in runs]
    return [run.name if names.count(run.name) == 1 else str(run.folder) for run in runs]


def named(runs: Sequence[Run]) -> list[tuple[str, Run]]:
    """The runs with their :func:`labels`."""
    return list(zip(labels(runs), runs, strict=True))


def number(value: Any, digits: int = 3) -> str:
    """A number as text; a dash if ``value`` is not one."""
    return "-" if real(value) is None else f"{value:.{digits}f}"


def judged(run: Run) -> int:
    """Number of judged pictures."""
    return sum(n for row in matrix(run.judge) or [] for n in row)


def beside(run: Run, key: str) -> str:
    """Mean of a measure of the generators' quality, beside what real clips score."""
    best = mean(run, f"{key}_ceiling")
    return number(mean(run, key)) + (f" (real clips {number(best)})" if best is not None else "")


def mean(run: Run, key: str) -> float | None:
    """Mean over the classes of a measure of the generators' quality."""
    values = [value for line in run.quality.values() if (value := real(line.get(key))) is not None]
    return sum(values) / len(values) if values else None
