"""`vegas-fl gallery`: a page with all pictures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app


@app.command()
def gallery(
    folder: Annotated[Path, typer.Argument(help="An images_output_dir, or the folder of one node in it.")],
) -> None:
    """Write a page with all pictures of a run.

    gallery.html has thumbnails by node and class, and the origin of each picture on a click.
    """
    from vegas_fl.rendering.gallery import write_gallery

    page, count = write_gallery(folder)
    print(f"{page}: {count} pictures")
