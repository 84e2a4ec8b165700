"""The section of a page about time and traffic: what was done when, and how many bytes were sent where."""

from collections.abc import Sequence
from dataclasses import dataclass

from vegas_fl.runs.report import charts
from vegas_fl.runs.report.blocks import Block, FigureRow, Fold, Hint, Section, Table, chart, duration, size
from vegas_fl.runs.report.left import KINDS
from vegas_fl.runs.report.read import Line, Run, RunAttempt, real
from vegas_fl.runs.report.table import named


@dataclass(frozen=True)
class MessageTraffic:
    """A message to some nodes, and their replies."""

    message: str
    round: int | None
    end: float | None
    lines: tuple[Line, ...]

    @property
    def words(self) -> str:
        """What it asks for."""
        return KINDS[self.message].words if self.message in KINDS else self.message

    @property
    def seconds(self) -> float:
        """From sending to the last reply."""
        return max(line["seconds"] for line in self.lines)


def messages(attempts: Sequence[RunAttempt]) -> list[MessageTraffic]:
    """The messages of some attempts, in their order."""
    found: dict[tuple, list[Line]] = {}
    for attempt in attempts:
        for line in attempt.of("traffic"):
            key = (attempt.number, line["message"], line.get("round"), line.get("time"))
            found.setdefault(key, []).append(line)
    return [MessageTraffic(m, round_, end, tuple(lines)) for (_, m, round_, end), lines in found.items()]


def section(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """Timeline, and bytes by message, round and node."""
    blocks: list[Block] = []
    plots = []
    for name, run in named(runs):
        if spans := timeline(run):
            alt = "; ".join(f"{span.row} {duration(span.seconds)}" for span in spans if span.kind == "stage")
            plots.append(chart(name, f"Timeline: {alt}.", notes, charts.timeline, spans))
    if plots:
        blocks.append(FigureRow(plots))
    if table := _by_message(runs):
        hint = "Bytes count the messages' contents; time is from sending to the last reply."
        blocks += [table, Hint(hint)]
    if len(runs) == 1 and (sent := messages(runs[0].used)):
        if by_round := [message for message in sent if message.round is not None]:
            rows = [[str(m.round), m.words, duration(m.seconds), *_bytes(m.lines)] for m in by_round]
            table = Table(["round", "message", "time", "to the nodes", "from the nodes"], rows, 2)
            blocks.append(Fold("By round", [table]))
        blocks.append(Fold("By node", [_by_node(runs[0].traffic)]))
    return Section("flow", "Time and traffic", blocks) if blocks else None


def timeline(run: Run) -> list[charts.Span]:
    """Stages, and within them the time the server waited for nodes; attempts follow each other without a gap."""
    spans: list[charts.Span] = []
    offset = 0.0
    for attempt in run.used:
        found = [
            charts.Span(line["stage"], line["time"] - line["seconds"], line["seconds"], "stage")
            for line in attempt.lines
            if line["stage"] not in ("traffic", "end")
            and None not in (real(line.get("time")), real(line.get("seconds")))
        ]
        for message in messages([attempt]):
            if message.end is not None:
                found.append(
                    charts.Span(message.words, message.end - message.seconds, message.seconds, "nodes at work")
                )
        if not found:
            continue
        begin = min(span.start for span in found)
        spans += [span._replace(start=span.start - begin + offset) for span in found]
        offset = max(span.start + span.seconds for span in spans)
    return sorted(spans, key=lambda span: (span.start, -span.seconds))


def _by_message(runs: Sequence[Run]) -> Table | None:
    """A row for each message (and run): times sent, nodes, seconds, bytes."""
    rows: list[Sequence[str]] = []
    strong = set()
    for name, run in named(runs):
        sent = messages(run.used)
        for words in dict.fromkeys(message.words for message in sent):
            rows.append([name, words, *_sums([message for message in sent if message.words == words])])
        if sent:
            strong.add(len(rows))
            rows.append([name, "total", *_sums(sent)])
    head = ["run", "message", "sent", "nodes", "time", "to the nodes", "from the nodes"]
    return Table(head, rows, 2, strong, id="traffic").with_runs(runs) if rows else None


def _sums(sent: Sequence[MessageTraffic]) -> list[str]:
    lines = [line for message in sent for line in message.lines]
    nodes = {line.get("node") for line in lines}
    return [str(len(sent)), str(len(nodes)), duration(sum(message.seconds for message in sent)), *_bytes(lines)]


def _by_node(lines: Sequence[Line]) -> Table:
    nodes = sorted({str(line.get("node")) for line in lines}, key=lambda n: (len(n), n))
    rows = [[node, *_bytes([line for line in lines if str(line.get("node")) == node])] for node in nodes]
    return Table(["node", "received", "sent"], rows, id="nodes")


def _bytes(lines: Sequence[Line]) -> list[str]:
    """Bytes to the nodes and from them."""
    return [size(sum(line[way] for line in lines)) for way in ("down", "up")]
