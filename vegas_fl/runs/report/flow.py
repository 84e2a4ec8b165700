"""The section of a page that says when what was done, and how many bytes went where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vegas_fl.runs.report import figures
from vegas_fl.runs.report.blocks import (
    Block,
    Figures,
    Fold,
    Hint,
    Section,
    Table,
    drawn,
    duration,
    size,
)
from vegas_fl.runs.report.read import Attempt, Line, Run
from vegas_fl.runs.report.table import labels

WORDS = {
    "query.describe": "describe",
    "train.generator": "train generators",
    "train.adapter": "train adapters",
    "evaluate.adapter": "evaluate",
    "evaluate.generator": "evaluate generators",
    "query.generate": "draw pictures",
}
"""What the messages ask the nodes to do."""


@dataclass(frozen=True)
class Exchange:
    """A message to some nodes and their answers."""

    message: str
    round: int | None
    end: float | None
    lines: tuple[Line, ...]

    @property
    def seconds(self) -> float:
        """From sending to the last answer."""
        return max(line["seconds"] for line in self.lines)

    def bytes(self, way: str) -> float:
        """Bytes ``down`` to the nodes or ``up`` from them, all together."""
        return sum(line[way] for line in self.lines)


def exchanges(attempts: Sequence[Attempt]) -> list[Exchange]:
    """The exchanges of some attempts, in their order."""
    found: dict[tuple, list[Line]] = {}
    for attempt in attempts:
        for line in attempt.of("traffic"):
            key = (attempt.number, line["message"], line.get("round"), line.get("time"))
            found.setdefault(key, []).append(line)
    return [Exchange(m, round_, end, tuple(lines)) for (_, m, round_, end), lines in found.items()]


def section(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """Timeline, and bytes by message, round and node."""
    blocks: list[Block] = []
    plots = []
    for name, run in zip(labels(runs), runs, strict=True):
        if spans := timeline(run):
            alt = "; ".join(f"{span.row} {duration(span.seconds)}" for span in spans if span.kind == "stage")
            draw = lambda spans=spans: figures.timeline(spans)  # noqa: E731
            plots.append(drawn(name, f"Timeline: {alt}.", draw, notes))
    if plots:
        blocks.append(Figures(plots))
    if table := by_message(runs):
        blocks += [
            table,
            Hint("Bytes are those of the messages' contents; seconds count from sending to the last answer."),
        ]
    if len(runs) == 1 and (all_ := exchanges(runs[0].used)):
        if any(exchange.round is not None for exchange in all_):
            blocks.append(Fold("By round", [_by_round(all_)]))
        blocks.append(Fold("By node", [_by_node(runs[0].traffic)]))
    return Section("flow", "Time and traffic", blocks) if blocks else None


def timeline(run: Run) -> list[figures.Span]:
    """Stages, and within them the time the server waited for nodes; attempts follow each other without a gap."""
    spans: list[figures.Span] = []
    offset = 0.0
    for attempt in run.used:
        found = [
            figures.Span(line["stage"], line["time"] - line["seconds"], line["seconds"], "stage")
            for line in attempt.lines
            if line["stage"] not in ("traffic", "end") and _timed(line)
        ]
        for exchange in exchanges([attempt]):
            if exchange.end is not None:
                row = WORDS.get(exchange.message, exchange.message)
                start = exchange.end - exchange.seconds
                found.append(figures.Span(row, start, exchange.seconds, "nodes at work"))
        if not found:
            continue
        begin = min(span.start for span in found)
        spans += [span._replace(start=span.start - begin + offset) for span in found]
        offset = max(span.start + span.seconds for span in spans)
    return sorted(spans, key=lambda span: (span.start, -span.seconds))


def by_message(runs: Sequence[Run]) -> Table | None:
    """A row a message (and run): exchanges, nodes, seconds, bytes."""
    rows: list[Sequence[str]] = []
    strong = set()
    several = len(runs) > 1
    for name, run in zip(labels(runs), runs, strict=True):
        all_ = exchanges(run.used)
        for message in dict.fromkeys(exchange.message for exchange in all_):
            some = [exchange for exchange in all_ if exchange.message == message]
            rows.append([*([name] if several else []), WORDS.get(message, message), *_sums(some)])
        if all_:
            strong.add(len(rows))
            rows.append([*([name] if several else []), "together", *_sums(all_)])
    head = [*(["run"] if several else []), "message", "sent", "nodes", "time", "to the nodes", "from the nodes"]
    return Table(head, rows, 2 if several else 1, strong, id="traffic") if rows else None


def _sums(some: Sequence[Exchange]) -> list[str]:
    nodes = {line.get("node") for exchange in some for line in exchange.lines}
    return [
        str(len(some)),
        str(len(nodes)),
        duration(sum(exchange.seconds for exchange in some)),
        *(size(sum(exchange.bytes(way) for exchange in some)) for way in ("down", "up")),
    ]


def _by_round(all_: Sequence[Exchange]) -> Table:
    rows = [
        [str(x.round), WORDS.get(x.message, x.message), duration(x.seconds), size(x.bytes("down")), size(x.bytes("up"))]
        for x in all_
        if x.round is not None
    ]
    return Table(["round", "message", "time", "to the nodes", "from the nodes"], list(rows), 2)


def _by_node(lines: Sequence[Line]) -> Table:
    nodes = sorted({str(line.get("node")) for line in lines}, key=lambda n: (len(n), n))
    rows = []
    for node in nodes:
        own = [line for line in lines if str(line.get("node")) == node]
        rows.append([node, *(size(sum(line[way] for line in own)) for way in ("down", "up"))])
    return Table(["node", "received", "sent"], list(rows), id="nodes")


def _timed(line: Line) -> bool:
    return all(
        isinstance(line.get(key), int | float) and not isinstance(line[key], bool) for key in ("time", "seconds")
    )
