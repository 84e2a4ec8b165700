"""The section of a page with the pictures, as strips cut from the nodes' folders, and the judge's verdict."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vegas_fl.core.errors import VegasError, some
from vegas_fl.rendering import picture_file
from vegas_fl.rendering.sheets import sheet_path
from vegas_fl.runs.report.adapters import confusion
from vegas_fl.runs.report.blocks import Block, Figure, FigureRow, Hint, Section, Table
from vegas_fl.runs.report.charts import data_uri
from vegas_fl.runs.report.read import Line, Run, matrix
from vegas_fl.runs.report.table import compared_on, judged, labels, named, number
from vegas_fl.storage.provenance import in_words

if TYPE_CHECKING:
    from PIL import Image

JUDGED = {
    "accuracy": "judged right ↑",
    "balanced_accuracy": "balanced accuracy ↑",
    "macro_f1": "macro F1 ↑",
    "clip_score": "CLIP score ↑",
    "image_similarity": "similarity to the video ↑",
    "fid": "FID ↓",
    "kid": "KID ↓",
}
GRID, SMALL_GRID = (10, 4), (5, 4)
"""Columns and rows of a strip, for one run and for several side by side."""
TILE = 96
"""Width of a tile in pixels; smaller pictures keep their size."""
COMPARED = 60
"""Pictures of a class that are looked at for the ones that differ most between runs."""
SHEET = 1280
"""Width in pixels of a contact sheet that is shown in place of its pictures."""


def section(runs: Sequence[Run], notes: list[str]) -> Section | None:
    """Strips of pictures, of one run by node, of several by class; and the judge's verdict."""
    blocks: list[Block] = []
    verdicts = [
        confusion(f"{name}: {number(run.judge['accuracy'])} of {judged(run)} judged right", run.judge, [], notes)
        for name, run in named(runs)
        if run.judge and len(matrix(run.judge) or []) > 1
    ]
    rows = [
        [name, str(judged(run)), *(number(run.judge.get(key)) for key in JUDGED), compared_on(run.judge)]
        for name, run in named(runs)
        if run.judge
    ]
    if rows:
        blocks.append(
            Table(["run", "pictures", *JUDGED.values(), "FID and KID on"], rows, id="judge").without_empty_columns()
        )
    blocks += [Hint(text) for name, run in named(runs) if (text := _drawn_with(name, run))]
    blocks += _by_node(runs[0], notes) if len(runs) == 1 else _by_class(runs, notes)
    if verdicts:
        blocks.append(FigureRow(verdicts, title="What the judge takes them for"))
    return Section("pictures", "Pictures", blocks) if blocks else None


def _drawn_with(name: str, run: Run) -> str:
    """Which adapters drew a run's pictures, in words; nothing if an earlier version drew them."""
    adapters = [line.get("adapter") for line in run.images.values()]
    found = dict.fromkeys(in_words(adapter) for adapter in adapters if isinstance(adapter, dict))
    return f"{name}: drawn with {some(list(found), 3)}." if found else ""


def _by_node(run: Run, notes: list[str]) -> list[Block]:
    blocks: list[Block] = []
    for node, (folder, found) in _nodes(run).items():
        strips = [_strip(label, paths, GRID, notes) for label, paths in found.items() if paths]
        if _elsewhere(run.images[node]):
            count = run.images[node].get("pictures", "its")
            blocks.append(Hint(f"Node {node}: {count} pictures stay on the node, in {folder}."))
            continue
        strips = strips or [_sheet(node, folder, notes)]
        blocks += [FigureRow([one], "strips", f"Node {node}" if one is strips[0] else "") for one in strips]
        if any(len(paths) > GRID[0] * GRID[1] for paths in found.values()):
            blocks.append(Hint(f"All pictures are in {folder}."))
    return blocks


def _by_class(runs: Sequence[Run], notes: list[str]) -> list[Block]:
    by_run: list[dict[str, dict[str, Path]]] = []
    for run in runs:
        found: dict[str, dict[str, Path]] = {}
        for node, (_, by_class) in _nodes(run).items():
            for label, paths in by_class.items():
                found.setdefault(label, {}).update({f"{node}/{path.name}": path for path in paths})
        if run.images and not any(found.values()) and not any(map(_elsewhere, run.images.values())):
            notes.append(f"{run.name}: the pictures are not shown because they are not on this machine.")
        by_run.append(found)
    blocks: list[Block] = []
    for label in sorted({label for found in by_run for label, paths in found.items() if paths}):
        drawn = [found.get(label, {}) for found in by_run]
        common = sorted(set.intersection(*(set(paths) for paths in drawn if paths)))
        if len(common) < 2 or sum(map(bool, drawn)) < 2:
            chosen, title = [sorted(paths) for paths in drawn], label
        else:
            differing, same = _most_different(common[:COMPARED], [paths for paths in drawn if paths])
            chosen = [[name for name in (differing or common) if name in paths] for paths in drawn]
            title = f"{label}: of the first {min(len(common), COMPARED)}, those that differ most; {same} are the same"
        strips = [
            _strip(name, [paths[key] for key in keys], SMALL_GRID, notes)
            for name, paths, keys in zip(labels(runs), drawn, chosen, strict=True)
        ]
        blocks.append(FigureRow(strips, "strips", title))
    return blocks


def _most_different(names: Sequence[str], runs: Sequence[dict[str, Path]]) -> tuple[list[str], int]:
    """The names of pictures that differ most between the runs, in their order, and how many are the same in all."""
    import numpy as np

    distances: dict[str, float] = {}
    for name in names:
        tiles = [tile for run in runs if (tile := _opened(run[name]))]
        small = [np.asarray(tile.convert("RGB").resize((32, 32)), float) for tile in tiles]
        distances[name] = max((float(np.abs(one - small[0]).mean()) for one in small), default=0.0)
    differing = [name for name in names if distances[name] > 0]
    most = sorted(differing, key=lambda name: -distances[name])[: SMALL_GRID[0] * SMALL_GRID[1]]
    return [name for name in names if name in most], len(names) - len(differing)


def _nodes(run: Run) -> dict[str, tuple[Path, dict[str, list[Path]]]]:
    """Node → its folder of pictures, and those by class in the order of their names."""
    nodes = {}
    for node in sorted(run.images, key=lambda n: (len(n), n)):
        folder = _folder(run, node)
        classes = [str(label) for label in run.nodes.get(node, {}).get("selected_classes", ())]
        found: dict[str, list[Path]] = {label: [] for label in classes}
        for path in sorted(() if _elsewhere(run.images[node]) else folder.glob("*.png")):
            if owners := [label for label in classes if path.name.startswith(f"{label}_")]:
                found[max(owners, key=len)].append(path)
        nodes[node] = folder, found
    return nodes


def _folder(run: Run, node: str) -> Path:
    """The folder of a node's pictures: as the node reported it, or as configured; relative to where the run was
    started, if it is there."""
    reported = run.images.get(node, {}).get("folder")
    place = Path(str(reported)) if reported else Path(str(run.setting("images_output_dir"))) / f"node_{node}"
    started_in = run.folder.absolute().parent.parent
    return place if place.is_dir() or not (started_in / place).is_dir() else started_in / place


def _elsewhere(line: Line) -> bool:
    """Whether a node's pictures were on another machine when they were drawn."""
    return line.get("here") is False


def _sheet(node: str, folder: Path, notes: list[str]) -> Figure:
    """The contact sheet of a node whose pictures are not here."""
    figure, shown = _tiled([sheet_path(folder)], 1, SHEET, [])
    if not shown:
        notes.append(f"Node {node}'s pictures are not shown: neither they nor their sheet are in {folder.parent}.")
        return Figure("", f"no pictures in {folder}")
    figure.caption, figure.alt = "contact sheet", f"Contact sheet of node {node}"
    return figure


def _strip(name: str, paths: Sequence[Path], grid: tuple[int, int], notes: list[str]) -> Figure:
    """The first pictures of a class as one image."""
    columns, rows = grid
    figure, shown = _tiled(paths[: columns * rows], columns, TILE, notes)
    if not shown:
        return Figure(name, "no pictures")
    figure.caption = f"{name} ({shown} of {len(paths)})" if shown < len(paths) else f"{name} ({len(paths)})"
    figure.alt = f"Pictures: {name}"
    return figure


def _tiled(paths: Sequence[Path], columns: int, side: int, notes: list[str]) -> tuple[Figure, int]:
    """Pictures as tiles at most ``side`` pixels wide in one image, and how many could be read; an unreadable one
    leaves a gap and a note."""
    from PIL import Image

    tiles = [_opened(path) for path in paths]
    if damaged := [path for path, tile in zip(paths, tiles, strict=True) if tile is None]:
        others = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        notes.append(f"{damaged[0]}{others} cannot be read: the strip has a gap there.")
    whole = [tile for tile in tiles if tile is not None]
    if not whole:
        return Figure("", ""), 0
    width = min(side, whole[0].width)
    height = max(1, round(width * whole[0].height / whole[0].width))
    sheet = Image.new("RGBA", (width * min(columns, len(paths)), height * -(-len(paths) // columns)))
    for position, tile in enumerate(tiles):
        if tile is not None:
            row, column = divmod(position, columns)
            sheet.paste(tile.resize((width, height)), (column * width, row * height))
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=88)
    return Figure("", "", data_uri(buffer.getvalue(), "image/webp"), *sheet.size), len(whole)


def _opened(path: Path) -> "Image.Image | None":
    """A picture; None if it cannot be read."""
    try:
        return picture_file.read(path).convert("RGBA")
    except VegasError:
        return None
