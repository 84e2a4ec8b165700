"""`vegas-fl verify` and `vegas-fl gallery`: folders of pictures, checked and on a page."""

from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.core.errors import VegasError

Folder = Annotated[Path, typer.Argument(help="An images_output_dir, or the folder of one node in it.")]


@app.command()
def gallery(folder: Folder) -> None:
    """Write a page with all pictures of a run.

    gallery.html has thumbnails by node and class, and the origin of each picture on a click.
    """
    from vegas_fl.rendering.gallery import write_gallery

    page, count = write_gallery(folder)
    print(f"{page}: {count} pictures")


@app.command()
def verify(
    folder: Folder,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="KEY=VALUE … over the stored settings: places of checkpoints and models, device."),
    ] = None,
    sample: Annotated[int, typer.Option(help="Pictures per folder to draw again; 0: none.")] = 4,
) -> None:
    """Check pictures, and draw a sample of them again.

    Names, counts, hashes and the origin stored in each picture are checked.
    """
    from vegas_fl.rendering import verify as checks
    from vegas_fl.rendering.runfile import find_folders

    reports = [checks.verify(path, sample, overrides or []) for path in find_folders(folder)]
    for report in reports:
        again = report.identical + report.close
        drawn = f"{again} drawn again, {report.identical} of them byte-identical" if again else "none drawn again"
        if report.note:
            drawn += f" ({report.note})"
        print(f"{report.folder}: {report.pictures} pictures, {len(report.problems)} problems, {drawn}")
    if problems := [problem for report in reports for problem in report.problems]:
        shown = "\n".join(f"- {problem}" for problem in problems[:20])
        rest = f"\n- and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise VegasError(
            f"{len(problems)} problems; run the command that drew the pictures again to replace what is missing or "
            f"damaged.\n{shown}{rest}"
        )
