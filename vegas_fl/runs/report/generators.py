"""The section of a page about the quality of the generators' samples."""

from collections.abc import Sequence

from vegas_fl.runs.report import charts
from vegas_fl.runs.report.answers import generator, generators
from vegas_fl.runs.report.blocks import Block, FigureRow, Fold, Hint, Section, Table, Verdict, chart
from vegas_fl.runs.report.charts import Dot
from vegas_fl.runs.report.read import Line, Run, real
from vegas_fl.runs.report.table import labels, mean, named, number

QUALITY = {
    "purity": ("purity ↑", "share of samples nearest to the mean of their own class"),
    "precision": ("precision ↑", "share of samples that lie among real clips"),
    "recall": ("recall ↑", "share of real clips that lie among samples: variety"),
    "density": ("density ↑", "how many real clips surround a sample"),
    "coverage": ("coverage ↑", "share of real clips that have a sample nearby"),
    "diversity": ("diversity ↑", "mean distance between two samples"),
    "frechet": ("Fréchet distance ↓", "distance between the distributions of samples and real clips"),
    "nearest": ("nearest clip", "median distance to the nearest training clip; far below real clips: copies"),
}
"""Name, which way is better, and meaning of each measure."""
CHARTED = ("purity", "recall", "precision", "diversity")
"""The measures that the chart shows."""


def section(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """A verdict for each class's generator, with reasons; its measures, against those of real clips."""
    blocks: list[Block] = []
    rows: list[Sequence[str]] = []
    verdicts: list[Sequence[str]] = []
    plots = []
    for name, run in named(runs):
        panels = []
        for label, line in sorted(run.quality.items()):
            pairs = {key: (real(line.get(key)), real(line.get(f"{key}_ceiling"))) for key in QUALITY}
            cells = [number(mine) + (f" / {number(best)}" if best is not None else "") for mine, best in pairs.values()]
            rows.append([name, label, *cells])
            verdicts.append([name, label, *generator(line)])
            panels.append((label, {QUALITY[key][0]: Dot(pairs[key][0], pairs[key], pairs[key][1]) for key in CHARTED}))
        if panels:
            caption = f"{name}: samples (dots) against real clips (bars)"
            plots.append(chart(caption, "The table below has the numbers.", notes, charts.dots, panels))
    if rows:
        if len(runs) == 1 and (answer := generators(runs[0])):
            blocks.append(Verdict(*answer))
        for lines in (rows, verdicts):
            lines.sort(key=lambda row: row[1])
        blocks.append(Table(["run", "class", "verdict", "why"], verdicts, 4, id="verdicts").with_runs(runs))
        blocks += [FigureRow(plots)] if plots else []
        hint = "Samples / real clips in their place, each compared with other real clips."
        if len(runs) > 1:
            hint += "".join(f" {title}: {meaning}." for title, meaning in QUALITY.values())
        blocks += [_measures(runs), Hint(hint)]
        table = Table(["run", "class", *(title for title, _ in QUALITY.values())], rows, 2, id="quality")
        blocks.append(Fold("By class", [table.with_runs(runs).without_empty_columns()]))
    if training := _training(runs):
        blocks.append(Fold("Training", [training]) if rows else training)
    return Section("generators", "Are my generators any good?", blocks) if blocks else None


def _measures(runs: Sequence[Run]) -> Table:
    """Mean over the classes: for one run a row for each measure, which says what it means; for several a row each."""
    cells = [[f"{number(mean(run, key))} / {number(mean(run, f'{key}_ceiling'))}" for key in QUALITY] for run in runs]
    if len(runs) > 1:
        rows = [[name, *own] for name, own in zip(labels(runs), cells, strict=True)]
        return Table(["mean over classes", *(title for title, _ in QUALITY.values())], rows, id="measures")
    rows = [[*words, own] for words, own in zip(QUALITY.values(), cells[0], strict=True)]
    return Table(["mean over classes", "", "samples / real"], rows, 2, id="measures")


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
