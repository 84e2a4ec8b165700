"""The section of a page that shows the pictures, and what the judge takes them for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vegas_fl.runs.report import pictures
from vegas_fl.runs.report.adapters import confusion
from vegas_fl.runs.report.blocks import (
    Block,
    Figure,
    Figures,
    Hint,
    Section,
    Table,
    without_empty_columns,
)
from vegas_fl.runs.report.read import Run, matrix
from vegas_fl.runs.report.table import judged, labels, number

JUDGED = {
    "accuracy": "judged right",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "clip_score": "CLIP score",
    "fid": "FID",
}
ALONE, BESIDE = (10, 4), (5, 4)
"""Columns and rows of a strip of pictures, of one run and of several side by side."""


def section(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """The judge's verdict and strips of pictures: of one run by node, of several by class."""
    blocks: list[Block] = []
    verdicts = [
        confusion(f"{name}: {number(run.judge['accuracy'])} of {judged(run)} judged right", run.judge, [], notes)
        for name, run in zip(labels(runs), runs, strict=True)
        if run.judge and matrix(run.judge)
    ]
    if table := _judged(runs):
        blocks.append(table)
    blocks += _by_node(runs[0], notes) if len(runs) == 1 else _by_class(runs, notes)
    if verdicts:
        blocks.append(Figures(verdicts, title="What the judge takes them for"))
    return Section("pictures", "Pictures", blocks) if blocks else None


def _judged(runs: Sequence[Run]) -> Table | None:
    """What the judge says of the pictures of each run."""
    rows: list[Sequence[str]] = [
        [name, str(judged(run)), *(number(run.judge.get(key)) for key in JUDGED)]
        for name, run in zip(labels(runs), runs, strict=True)
        if run.judge
    ]
    return without_empty_columns(Table(["run", "pictures", *JUDGED.values()], rows, id="judge")) if rows else None


def _by_node(run: Run, notes: list[str]) -> list[Block]:
    blocks: list[Block] = []
    for node in sorted(run.images, key=lambda n: (len(n), n)):
        folder = pictures.folder_of(run, node)
        classes = [str(label) for label in run.nodes.get(node, {}).get("selected_classes", ())]
        found = {label: paths for label, paths in pictures.pictures_of(folder, classes).items() if paths}
        strips = [_strip(label, paths, *ALONE, notes) for label, paths in found.items()]
        if not strips:
            strips = [_sheet(node, folder, notes)]
        blocks += [Figures([one], "strips", f"Node {node}" if one is strips[0] else "") for one in strips]
        if any(len(paths) > ALONE[0] * ALONE[1] for paths in found.values()):
            blocks.append(Hint(f"All of them are in {folder}."))
    return blocks


def _sheet(node: str, folder: Path, notes: list[str]) -> Figure:
    """The contact sheet of a node whose pictures are not here."""
    sheet = pictures.strip([pictures.sheet_of(folder)], 1, 1, [], side=pictures.SHEET)
    if sheet is None:
        notes.append(f"Node {node}'s pictures are not shown: neither they nor their sheet are in {folder.parent}.")
        return Figure("", f"no pictures in {folder}")
    return Figure("contact sheet", f"Contact sheet of node {node}", sheet.uri, sheet.width, sheet.height)


def _by_class(runs: Sequence[Run], notes: list[str]) -> list[Block]:
    drawn_: list[dict[str, list]] = []
    for run in runs:
        found: dict[str, list] = {}
        for node in sorted(run.images, key=lambda n: (len(n), n)):
            classes = [str(label) for label in run.nodes.get(node, {}).get("selected_classes", ())]
            for label, paths in pictures.pictures_of(pictures.folder_of(run, node), classes).items():
                found.setdefault(label, []).extend(paths)
        if run.images and not any(found.values()):
            notes.append(f"{run.name}: its pictures are not shown, they are not on this machine.")
        drawn_.append(found)
    blocks: list[Block] = []
    for label in sorted({label for found in drawn_ for label, paths in found.items() if paths}):
        row = [
            _strip(name, found.get(label, []), *BESIDE, notes) for name, found in zip(labels(runs), drawn_, strict=True)
        ]
        blocks.append(Figures(row, "strips", label))
    return blocks


def _strip(name: str, paths: Sequence, columns: int, rows: int, notes: list[str]) -> Figure:
    strip = pictures.strip(paths, columns, rows, notes)
    if strip is None:
        return Figure(name, "no pictures")
    count = f"{strip.shown} of {strip.total}" if strip.shown < strip.total else str(strip.total)
    return Figure(f"{name} ({count})", f"Pictures: {name}", strip.uri, strip.width, strip.height)
