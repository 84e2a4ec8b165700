"""Strips of the pictures that a run's nodes drew, cut from the nodes' folders."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vegas_fl.runs.report.figures import data_uri
from vegas_fl.runs.report.read import Run

TILE = 96
"""Width of a tile in pixels; smaller pictures keep their size."""
SHEET = 1280
"""Width of a contact sheet in pixels, where it stands in for pictures that are not here."""


@dataclass(frozen=True)
class Strip:
    """Pictures of one class, as one image: ``data:`` address, width and height, how many of how many."""

    uri: str
    width: int
    height: int
    shown: int
    total: int


def folder_of(run: Run, node: str) -> Path:
    """Where a node's pictures are: as the node said, as the configuration has it, or beside the runs' folder."""
    told = run.images.get(node, {}).get("folder")
    place = Path(str(told)) if told else Path(str(run.setting("images_output_dir"))) / f"node_{node}"
    started_in = run.folder.absolute().parent.parent
    return place if place.is_dir() or not (started_in / place).is_dir() else started_in / place


def pictures_of(folder: Path, classes: Sequence[str]) -> dict[str, list[Path]]:
    """The pictures in a node's folder by class, in the order of their names."""
    found: dict[str, list[Path]] = {label: [] for label in classes}
    for path in sorted(folder.glob("*.png")):
        owners = [label for label in classes if path.name.startswith(f"{label}_")]
        if owners:
            found[max(owners, key=len)].append(path)
    return found


def sheet_of(folder: Path) -> Path:
    """Where a node's contact sheet lies: beside its folder."""
    return folder.with_name(f"{folder.name}_sheet.png")


def strip(paths: Sequence[Path], columns: int, rows: int, notes: list[str], side: int = TILE) -> Strip | None:
    """The first ``columns * rows`` pictures as tiles at most ``side`` pixels wide; a damaged one leaves a gap and a
    note.

    Returns None without pictures.
    """
    from PIL import Image

    chosen = list(paths[: columns * rows])
    tiles: list[Image.Image | None] = []
    damaged = []
    for path in chosen:
        try:
            with Image.open(path) as image:
                tiles.append(image.convert("RGBA"))
        except (OSError, ValueError, SyntaxError):
            tiles.append(None)
            damaged.append(path)
    if damaged:
        others = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        notes.append(f"{damaged[0]}{others} cannot be read: the strip has a gap there.")
    whole = [tile for tile in tiles if tile is not None]
    if not whole:
        return None
    width = min(side, whole[0].width)
    height = max(1, round(width * whole[0].height / whole[0].width))
    sheet = Image.new("RGBA", (width * min(columns, len(chosen)), height * -(-len(chosen) // columns)))
    for position, tile in enumerate(tiles):
        if tile is not None:
            row, column = divmod(position, columns)
            sheet.paste(tile.resize((width, height)), (column * width, row * height))
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=88)
    return Strip(data_uri(buffer.getvalue(), "image/webp"), *sheet.size, len(whole), len(paths))
