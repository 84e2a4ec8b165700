"""The sections of a page about the quality of the adapters."""

from collections.abc import Iterator, Sequence

from vegas_fl.config import BRANCHES
from vegas_fl.core.errors import some
from vegas_fl.runs.report import charts
from vegas_fl.runs.report.answers import BRANCH_NAMES, main_adapter
from vegas_fl.runs.report.blocks import Block, Figure, FigureRow, Fold, Hint, Section, Table, chart
from vegas_fl.runs.report.read import Line, Run, matrix, recalls
from vegas_fl.runs.report.table import named, number

MEASURES = {
    "accuracy": "accuracy ↑",
    "balanced_accuracy": "balanced accuracy ↑",
    "macro_f1": "macro F1 ↑",
    "margin": "margin ↑",
    "cosine": "cosine ↑",
    "mse": "MSE ↓",
    "accuracy_without_largest": "accuracy without the largest node ↑",
}


def summary(runs: Sequence[Run]) -> Section:
    """A row for each adapter (of all runs), its measures in both branches."""
    lines = [line for run in runs for branches in run.final.values() for line in branches.values()]
    if not lines:
        return Section("summary", "Adapters in figures", [Hint("No adapter was evaluated.")])
    shown = {key: title for key, title in MEASURES.items() if any(number(line.get(key)) != "-" for line in lines)}
    rows: list[Sequence[str]] = []
    strong = set()
    for name, run in named(runs):
        for adapter, branches in run.final.items():
            if adapter == main_adapter(run):
                strong.add(len(rows))
            cells = [number(branches.get(branch, {}).get(key)) for key in shown for branch in BRANCHES]
            rows.append([name, adapter, *cells, str(max(line["round"] for line in branches.values()))])
    head = ["run", "adapter", *("CLIP", "T5") * len(shown), "round"]
    table = Table(head, rows, 2, strong, id="results").with_runs(runs)
    table.groups = [("", table.words), *((title, 2) for title in shown.values()), ("", 1)]
    hint = (
        "On clips no node trained on, by the nearest text target; each adapter in its last evaluated round. Bold: the "
        "run's aggregated adapter. Margin: 1 at the right text target, 0 half-way to the nearest wrong one. Cosine: of "
        "the angle to the right target; MSE: squared distance to it, 1 = what the mean of the targets scores."
    )
    if largest := sorted({str(line["largest"]) for line in lines if line.get("largest")}):
        hint += (
            f" The largest node ({some(largest)}) says that it has the most clips, which nobody can check; in all "
            "figures it counts as no more than federation.max_weight times the usual number."
        )
    return Section("summary", "Adapters in figures", [table, Hint(hint)])


def accuracy(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """Accuracy by round: a chart for each branch, with the curves of all runs."""
    plots: list[Figure] = []
    if len({line["round"] for run in runs for line in run.evaluations}) < 2:
        return None
    classes = {len(matrix(line) or []) for run in runs for line in run.evaluations} - {0}
    chance = 1 / classes.pop() if len(classes) == 1 else None
    for branch in BRANCHES:
        if curves := list(_curves(runs, branch)):
            ends = "; ".join(f"{c.name}: {c.values[-1]:.3f} in round {c.rounds[-1]}" for c in curves)
            alt = f"Accuracy by round. {ends}"
            plots.append(chart(BRANCH_NAMES[branch], alt, notes, charts.accuracy, curves, chance))
    return Section("accuracy", "Accuracy per round", [FigureRow(plots)]) if plots else None


def _curves(runs: Sequence[Run], branch: str) -> Iterator[charts.Curve]:
    for position, (name, run) in enumerate(named(runs)):
        for index, adapter in enumerate(reversed(run.final)):
            lines = [x for x in run.evaluations if (x["adapter"], x["branch"]) == (adapter, branch)]
            lines.sort(key=lambda line: line["round"])
            if not lines:
                continue
            yield charts.Curve(
                f"{name}: {adapter}" if len(runs) > 1 else adapter,
                [line["round"] for line in lines],
                [line["accuracy"] for line in lines],
                position if len(runs) > 1 else index,
                adapter == main_adapter(run),
            )


def confusions(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """Confusion matrices of the aggregated adapters, those of the others on demand; recall of each class."""
    main: list[Figure] = []
    others: list[Figure] = []
    for name, run in named(runs):
        for adapter, branches in reversed(run.final.items()):
            whose = f"{name}: {adapter}" if len(runs) > 1 else adapter
            for branch in BRANCHES:
                if matrix(line := branches.get(branch, {})):
                    figures = main if adapter == main_adapter(run) else others
                    figures.append(confusion(f"{whose}, {BRANCH_NAMES[branch]}", line, run.classes, notes))
    blocks: list[Block] = [FigureRow(main)] if main else []
    if others:
        blocks.append(Fold("Adapters for comparison", [FigureRow(others)]))
    if blocks and (table := _per_class(runs)):
        blocks.append(table)
    return Section("confusion", "Confusion between classes", blocks) if blocks else None


def confusion(caption: str, line: Line, classes: Sequence[str], notes: list[str]) -> Figure:
    """The confusion matrix of a line; ``classes`` name its rows if the line does not."""
    counts = matrix(line) or []
    right = sum(counts[k][k] for k in range(len(counts)))
    alt = f"Confusion matrix: {right} of {sum(map(sum, counts))} right."
    return chart(caption, alt, notes, charts.confusion, counts, _names(line, classes))


def _names(line: Line, classes: Sequence[str]) -> list[str]:
    """Names of a matrix's rows: its own, the federation's, or numbers."""
    size = len(matrix(line) or [])
    for names in (line.get("classes"), classes):
        if isinstance(names, list) and len(names) == size:
            return [str(name) for name in names]
    return [str(k) for k in range(size)]


def _per_class(runs: Sequence[Run]) -> Table | None:
    """Recall of each class, over clips and over pictures."""
    rows: list[Sequence[str]] = []
    for name, run in named(runs):
        evaluated = run.final.get(main_adapter(run) or "", {})
        lines = (evaluated.get("clip"), evaluated.get("t5"), run.judge)
        shares = [dict(zip(_names(line or {}, run.classes), recalls(line), strict=False)) for line in lines]
        for label in sorted({label for column in shares for label, share in column.items() if share is not None}):
            rows.append([name, label, *(number(column.get(label)) for column in shares)])
    if not rows:
        return None
    rows.sort(key=lambda row: row[1])
    table = Table(["run", "class", "CLIP", "T5", "pictures"], rows, 2, id="classes").with_runs(runs)
    table.groups = [("", table.words), ("recall", 3)]
    return table
