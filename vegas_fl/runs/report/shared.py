"""The section of a page that answers whether shared adapters are better than local ones."""

from collections.abc import Iterator, Sequence

from vegas_fl.config import BRANCHES
from vegas_fl.runs.report import charts
from vegas_fl.runs.report.answers import BRANCH_NAMES, gain, main_adapter, shared
from vegas_fl.runs.report.blocks import Block, Figure, FigureRow, Hint, Section, Table, Verdict, chart
from vegas_fl.runs.report.read import Line, Run, matrix, real, span
from vegas_fl.runs.report.table import named, number

PANELS = {
    "accuracy": "Share of unseen clips that are right, with 95 % interval; bar: chance",
    "margin": "Margin, with 95 % interval: 1 = at the right text target, 0 = undecided",
}


def section(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """The answer with its figure; for one run also by node, for several a row each."""
    answers = [(name, answer) for name, run in named(runs) if (answer := shared(run))]
    if not answers:
        return None
    blocks: list[Block] = []
    if len(runs) == 1:
        blocks.append(Verdict(*answers[0][1]))
    else:
        rows = [[name, answer, *_gains(run)] for name, run in named(runs) for answer, _ in [shared(run) or ("", "")]]
        head = ["run", "", *(f"{title}, 95 % interval" for title in BRANCH_NAMES.values())]
        blocks.append(Table(head, [row for row in rows if row[1]], 2, id="answers"))
    if figures := list(_figures(runs, notes)):
        blocks.append(FigureRow(figures))
    if len(runs) == 1 and runs[0].own_adapters:
        blocks += [_by_node(runs[0]), Hint("CLIP / T5 branch; clips that no node trained on, of all nodes.")]
    return Section("shared", "Are shared adapters better than local ones?", blocks)


def _gains(run: Run) -> list[str]:
    """How much more the aggregated adapter tells right than the nodes' own, in each branch."""
    lines, local = run.final.get(main_adapter(run) or "", {}), run.final.get("local", {})
    return [gain(lines[b], local[b]) if b in lines and b in local else number(None) for b in BRANCH_NAMES]


def _figures(runs: Sequence[Run], notes: list[str]) -> Iterator[Figure]:
    for measure, caption in PANELS.items():
        rows = [
            (f"{name}: {adapter}" if len(runs) > 1 else adapter, cells)
            for name, run in named(runs)
            for adapter, branches in reversed(run.final.items())
            if (cells := dict(_cells(branches, measure, adapter == main_adapter(run))))
        ]
        if rows:
            values = [f"{name} {', '.join(number(dot.value) for dot in cells.values())}" for name, cells in rows]
            yield chart(caption, f"{measure.capitalize()}: {'; '.join(values)}.", notes, charts.dots, rows)


def _cells(branches: dict[str, Line], measure: str, main: bool) -> Iterator[tuple[str, charts.Dot]]:
    for branch in BRANCHES:
        line = branches.get(branch, {})
        if (value := real(line.get(measure))) is not None:
            counts = matrix(line)
            chance = 1 / len(counts) if counts and measure == "accuracy" else None
            ends = span(line.get(f"{measure}_interval")) or (None, None)
            yield BRANCH_NAMES[branch], charts.Dot(value, ends, chance, main, labelled=True)


def _by_node(run: Run) -> Table:
    """A row for each node: its own adapter and the aggregated one, on its own classes and on the others'."""
    main = main_adapter(run) or ""
    rows = []
    for node, branches in run.own_adapters.items():
        lines = [branches.get(branch, {}) for branch in BRANCHES]
        row = [node, ", ".join(map(str, run.nodes.get(node, {}).get("selected_classes", ())))]
        for whose in ("own", "others"):
            counts = [real(line.get(f"{whose}_clips")) for line in lines]
            row.append(number(next((n for n in counts if n is not None), None), 0))
            row += [" / ".join(number(line.get(key)) for line in lines) for key in (whose, f"{whose}_shared")]
        rows.append(row)
    head = ["node", "its classes", *("clips", "own adapter", main) * 2]
    groups = [("", 2), ("on its own classes", 3), ("on the others' classes", 3)]
    return Table(head, rows, 2, groups=groups, id="by-node")
