"""The section of a page about the quality of the generators' samples."""

from __future__ import annotations

from collections.abc import Sequence

from vegas_fl.runs.report import charts
from vegas_fl.runs.report.blocks import Block, FigureRow, Fold, Hint, Section, Table, chart
from vegas_fl.runs.report.read import Line, Run, real
from vegas_fl.runs.report.table import named, number

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
CHARTED = ("purity", "coverage", "density", "diversity")
"""The measures that the chart shows."""


def section(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """Quality of the samples of each class's generator, against real clips."""
    blocks: list[Block] = []
    rows: list[Sequence[str]] = []
    plots = []
    for name, run in named(runs):
        panels = []
        for label, line in sorted(run.quality.items()):
            pairs = {key: (real(line.get(key)), real(line.get(f"{key}_ceiling"))) for key in QUALITY}
            cells = [number(mine) + (f" / {number(best)}" if best is not None else "") for mine, best in pairs.values()]
            rows.append([name, label, *cells])
            panels.append((label, {QUALITY[key]: pairs[key] for key in CHARTED if pairs[key][0] is not None}))
        measures = [set(values) for _, values in panels]
        if panels and measures[0] and all(m == measures[0] for m in measures):
            caption = f"{name}: samples (dots) against real clips (bars)"
            plots.append(chart(caption, "The table below has the numbers.", notes, charts.quality, panels))
    if rows:
        rows.sort(key=lambda row: row[1])
        blocks += [FigureRow(plots)] if plots else []
        table = Table(["run", "class", *QUALITY.values()], rows, 2, id="quality")
        blocks.append(table.with_runs(runs).without_empty_columns())
        blocks.append(Hint("Samples / real clips, each compared with other real clips: the second is the ceiling."))
    if training := _training(runs):
        blocks.append(Fold("Training", [training]) if rows else training)
    return Section("generators", "Generators", blocks) if blocks else None


def _training(runs: Sequence[Run]) -> Table | None:
    lines = [(name, line) for name, run in named(runs) for line in run.generators]
    if not lines:
        return None
    keys = list(dict.fromkeys(key for _, line in lines for key in _training_of(line)))
    rows = [
        [
            name,
            str(line["label"]),
            str(line.get("node", "")),
            number(line.get("clips"), 0),
            *(number(_training_of(line).get(key), 0 if key in ("epochs", "components") else 3) for key in keys),
        ]
        for name, line in sorted(lines, key=lambda item: (item[0], str(item[1]["label"]), str(item[1].get("node"))))
    ]
    return Table(["run", "class", "node", "clips", *keys], rows, 3).with_runs(runs)


def _training_of(line: Line) -> Line:
    values = line.get("training")
    return {k: v for k, v in values.items() if k != "clips"} if isinstance(values, dict) else {}
