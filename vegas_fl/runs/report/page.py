"""The page of a run, or of several side by side: one file that loads nothing and runs no script."""

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from vegas_fl.core.files import write_atomically
from vegas_fl.runs.report import adapters, flow, generators, left, pictures, seeds, shared, template
from vegas_fl.runs.report.answers import GOOD, generator, main_adapter
from vegas_fl.runs.report.blocks import Block, Fold, Hint, Section, Table, Verbatim, duration, size
from vegas_fl.runs.report.read import Run, RunAttempt, read, real
from vegas_fl.runs.report.table import beside, judged, labels, named, number

MANY = 5
"""Runs that fit side by side, a column each."""
NAME = "report.html"
"""The page's name in a run's folder."""


def write(folder: Path) -> Path:
    """Write a run's page into its folder; returns its path. :class:`VegasError` if it is not the folder of a run, or
    cannot be written to."""
    path = folder / NAME
    write_atomically(path, html([read(folder)]).encode())
    return path


def html(runs: Sequence[Run]) -> str:
    """The page of one run, or of several side by side."""
    notes = [f"{name}: {note}" if len(runs) > 1 else note for name, run in named(runs) for note in run.notes]
    sections = [
        seeds.section(runs),
        _differences(runs) if len(runs) > 1 else None,
        shared.section(runs, notes),
        generators.section(runs, notes),
        left.section(runs) if len(runs) == 1 else None,
        pictures.section(runs, notes),
        adapters.summary(runs),
        adapters.accuracy(runs, notes),
        adapters.confusions(runs, notes),
        flow.section(runs, notes),
        _made_of(runs[0]) if len(runs) == 1 else None,
    ]
    return template.render(
        title=runs[0].name if len(runs) == 1 else f"{len(runs)} runs side by side",
        subtitle=_subtitle(runs[0]) if len(runs) == 1 else ", ".join(labels(runs)),
        notes=notes,
        cards=list(_cards(runs[0])) if len(runs) == 1 else [],
        sections=[section for section in sections if section],
    )


def _subtitle(run: Run) -> str:
    nodes, classes = len(run.nodes), len(run.classes)
    parts = [
        f"{nodes} node{'s' * (nodes > 1)}" if nodes else "",
        f"{classes} class{'es' * (classes > 1)}" if classes else "",
        f"aggregation {run.aggregation}" if main_adapter(run) else "",
        f"data {run.setting('data', 'name')}" if run.config else "",
        f"seed {run.setting('seed')}" if run.config else "",
    ]
    if run.attempts:
        parts.append(f"{_when(run.attempts[-1])} UTC")
    return " · ".join(part for part in parts if part)


def _cards(run: Run) -> Iterator[tuple[str, str]]:
    """The most important results."""
    main = main_adapter(run)
    lines = [line for line in (run.final[main].values() if main else ())]
    for key, meaning in (("accuracy", "accuracy"), ("margin", "margin (1: at the right target, 0: undecided)")):
        if any(real(line.get(key)) is not None for line in lines):
            yield " / ".join(number(line.get(key)) for line in lines), f"{meaning} of {main}, CLIP / T5 branch"
    if run.quality:
        good = [line for line in run.quality.values() if generator(line)[0] == GOOD]
        measured = ", ".join(f"{key} {beside(run, key)}" for key in ("purity", "recall"))
        yield f"{len(good)} of {len(run.quality)}", f"generators good: {measured}"
    if run.judge and real(run.judge["accuracy"]) is not None:
        yield number(run.judge["accuracy"]), f"of {judged(run)} pictures judged right"
    if run.traffic:
        down, up = (sum(line[way] for line in run.traffic) for way in ("down", "up"))
        yield size(up), f"left the nodes; {size(down)} were sent to them"
    if run.seconds is not None:
        yield duration(run.seconds), "in total"


def _differences(runs: Sequence[Run]) -> Section:
    """The settings that differ between the runs."""
    flat = [seeds.settings(run) for run in runs]
    keys = list(dict.fromkeys(key for values in flat for key in values))
    rows = [
        [key, *(values.get(key, "-") for values in flat)]
        for key in keys
        if len({values.get(key) for values in flat}) > 1
    ]
    block: Block = Table(["setting", *labels(runs)], rows, len(runs) + 1)
    if not rows:
        block = Hint("The settings are the same.")
    elif len(runs) > MANY:
        texts = [", ".join(f"{row[0]}={row[k]}" for row in rows if row[k] != "-") for k in range(1, len(runs) + 1)]
        block = Table(["run", "settings"], list(zip(labels(runs), texts, strict=True)), 2)
    return Section("differences", "Different settings", [block])


def _made_of(run: Run) -> Section:
    """The attempts, the checkpoints and the configuration."""
    attempts = [_attempt(run, attempt) for attempt in run.attempts]
    blocks: list[Block] = []
    if len(attempts) > 1:
        hint = Hint("For each stage, the results of its latest attempt count.")
        blocks += [Table(["attempt", "stages", "began (UTC)", "ended", "counts for"], attempts, 5), hint]
    if run.checkpoints:
        rows = [
            [
                str(entry.get("file", "")),
                str(entry.get("class") or "-"),
                str(entry.get("node") or "all"),
                str(entry.get("round") or "-"),
                size(entry["bytes"]) if real(entry.get("bytes")) is not None else "-",
                str(entry.get("sha256", ""))[:12],
            ]
            for entry in run.checkpoints
        ]
        head = ["file", "class", "node", "round", "size", "content (SHA-256)"]
        blocks.append(Fold(f"Checkpoints ({len(rows)} files)", [Table(head, rows, 6, id="checkpoints")]))
    if run.config:
        text = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
        blocks.append(Fold("Configuration", [Verbatim(text)]))
    return Section("made-of", "Details", blocks or [Hint("No attempts, checkpoints or configuration found.")])


def _attempt(run: Run, attempt: RunAttempt) -> list[str]:
    """A row of the table of attempts."""
    stages = attempt.start.get("stages")
    end = attempt.end
    ended = "no" if end is None else "failed" if end.get("problem") else "yes"
    if end is not None and real(end.get("seconds")) is not None:
        ended += f", after {duration(end['seconds'])}"
    counts = [s for s in ("generators", "adapters", "images") if run.section(s).number == attempt.number]
    return [
        str(attempt.number),
        ", ".join(map(str, stages)) if isinstance(stages, list) else "-",
        _when(attempt),
        ended,
        ", ".join(counts) or "nothing",
    ]


def _when(attempt: RunAttempt) -> str:
    """When it began, in UTC: the page is the same on every machine."""
    when = attempt.start.get("time")
    try:
        return f"{datetime.datetime.fromtimestamp(when, datetime.UTC):%Y-%m-%d %H:%M:%S}"  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return "-"
