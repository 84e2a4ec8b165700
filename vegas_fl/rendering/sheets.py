"""Contact sheets: all pictures of a folder at a glance."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from vegas_fl.core.files import write_atomically
from vegas_fl.rendering import picture_file

if TYPE_CHECKING:
    from vegas_fl.rendering.folder import Picture

TILE = 64
"""Side of a tile in pixels."""
LIMIT = 400
"""Most pictures on a sheet, so that its memory does not grow with the number of pictures."""
TITLE = 18
"""Height of a class's title in pixels."""


def sheet_path(folder: Path) -> Path:
    """Where the contact sheet of a folder lies: beside it, so that the folder holds only its pictures."""
    return folder.with_name(f"{folder.name}_sheet.png")


def contact_sheet(folder: Path, pictures: Sequence[Picture], columns: int, target: Path) -> None:
    """Write a PNG with the pictures in ``folder`` as tiles, ``columns`` a row, a title above each class.

    If there are many, the sheet shows the first pictures of each class, in proportion."""
    everything: dict[str, list[Picture]] = {}
    for picture in pictures:
        everything.setdefault(picture.label, []).append(picture)
    share = min(1.0, LIMIT / len(pictures))
    by_class = {label: members[: max(1, round(share * len(members)))] for label, members in everything.items()}
    height = sum(TITLE + TILE * -(-len(members) // columns) for members in by_class.values())
    sheet = Image.new("RGB", (columns * TILE, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    top = 0
    for label, members in by_class.items():
        total = len(everything[label])
        shown = f"{label} ({total})" if len(members) == total else f"{label} (the first {len(members)} of {total})"
        pen.text((4, top + 1), shown, fill="black", font=font)
        top += TITLE
        for position, picture in enumerate(members):
            row, column = divmod(position, columns)
            image = picture_file.read(folder / picture.name).convert("RGB")
            sheet.paste(image.resize((TILE, TILE)), (column * TILE, top + row * TILE))
        top += TILE * -(-len(members) // columns)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_atomically(target, buffer.getvalue())
