"""The section of a page that says how good the generators' samples are."""

from __future__ import annotations

from collections.abc import Sequence

from vegas_fl.runs.report import figures
from vegas_fl.runs.report.blocks import (
    Block,
    Figures,
    Fold,
    Hint,
    Section,
    Table,
    drawn,
    without_empty_columns,
)
from vegas_fl.runs.report.read import Line, Run
from vegas_fl.runs.report.table import labels, number

QUALITY = {
    "purity": "purity",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "diversity": "diversity",
    "frechet": "Fréchet distance",
    "nearest": "distance to nearest clip",
}
PANELS = ("purity", "coverage", "density", "diversity")
"""The figures of the generators that are drawn."""


def section(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """Quality of the samples of each class's generator, against real clips."""
    blocks: list[Block] = []
    rows: list[Sequence[str]] = []
    plots = []
    several = len(runs) > 1
    for name, run in zip(labels(runs), runs, strict=True):
        panels = []
        for label, line in sorted(run.quality.items()):
            pairs = {key: (_figure(line, key), _figure(line, f"{key}_ceiling")) for key in QUALITY}
            cells = [number(mine) + (f" / {number(real)}" if real is not None else "") for mine, real in pairs.values()]
            rows.append([*([name] if several else []), label, *cells])
            panels.append((label, {QUALITY[key]: pairs[key] for key in PANELS if pairs[key][0] is not None}))
        names = [set(values) for _, values in panels]
        if panels and names[0] and all(n == names[0] for n in names):
            caption = f"{name}: samples (dots) against real clips (bars)"
            draw = lambda panels=panels: figures.quality(panels)  # noqa: E731
            plots.append(drawn(caption, "The table below has the figures.", draw, notes))
    if rows:
        rows.sort(key=lambda row: row[1] if several else row[0])
        head = [*(["run"] if several else []), "class", *QUALITY.values()]
        blocks += [Figures(plots)] if plots else []
        blocks.append(without_empty_columns(Table(head, rows, 2 if several else 1, id="quality")))
        blocks.append(Hint("Samples / real clips against real clips: the second is the best a generator can do."))
    training = _training(runs)
    if training and rows:
        blocks.append(Fold("Training", [training]))
    elif training:
        blocks.append(training)
    return Section("generators", "Generators", blocks) if blocks else None


def _figure(line: Line, key: str) -> float | None:
    value = line.get(key)
    return None if isinstance(value, bool) or not isinstance(value, int | float) or value != value else value


def _training(runs: Sequence[Run]) -> Table | None:
    several = len(runs) > 1
    lines = [(name, line) for name, run in zip(labels(runs), runs, strict=True) for line in run.generators]
    if not lines:
        return None
    keys = list(dict.fromkeys(key for _, line in lines for key in _training_of(line)))
    rows = [
        [
            *([name] if several else []),
            str(line["label"]),
            str(line.get("node", "")),
            number(line.get("clips"), 0),
            *(number(_training_of(line).get(key), 0 if key in ("epochs", "components") else 3) for key in keys),
        ]
        for name, line in sorted(lines, key=lambda item: (item[0], str(item[1]["label"]), str(item[1].get("node"))))
    ]
    return Table([*(["run"] if several else []), "class", "node", "clips", *keys], list(rows), 3 if several else 2)


def _training_of(line: Line) -> Line:
    values = line.get("training")
    return {k: v for k, v in values.items() if k != "clips"} if isinstance(values, dict) else {}
