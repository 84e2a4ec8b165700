"""Contact sheets: all pictures of a folder at a glance."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vegas_fl.rendering.folder import Picture
from vegas_fl.tensorfiles import write_atomically

TILE = 64
"""Side of a tile in pixels."""
TITLE = 18
"""Height of a class's title in pixels."""


def contact_sheet(folder: Path, pictures: Sequence[Picture], columns: int, target: Path) -> None:
    """Write a PNG with the pictures in ``folder`` as tiles, ``columns`` a row, a title above each class."""
    by_class: dict[str, list[Picture]] = {}
    for picture in pictures:
        by_class.setdefault(picture.label, []).append(picture)
    height = sum(TITLE + TILE * -(-len(members) // columns) for members in by_class.values())
    sheet = Image.new("RGB", (columns * TILE, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    top = 0
    for label, members in by_class.items():
        pen.text((4, top + 1), f"{label} ({len(members)})", fill="black", font=font)
        top += TITLE
        for position, picture in enumerate(members):
            row, column = divmod(position, columns)
            with Image.open(folder / picture.name) as image:
                sheet.paste(image.convert("RGB").resize((TILE, TILE)), (column * TILE, top + row * TILE))
        top += TILE * -(-len(members) // columns)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_atomically(target, buffer.getvalue())
