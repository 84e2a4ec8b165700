"""`vegas-fl paint` and `render`, which draw pictures outside of a run; `verify` and `gallery`, which look at them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.config import compose, restored
from vegas_fl.core import logs
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


@app.command()
def paint(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="SOUND… [adapters=RUN] [KEY=VALUE…]",
            help="Recordings (wav, flac, ogg, mp3); the run whose global adapter is used (default: demo); overrides.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("painted"),
) -> None:
    """Paint recordings with trained adapters.

    The nearest classes of each recording are printed too.
    """
    from vegas_fl.rendering import paint as painting

    logs.show(sys.stderr)
    sounds = [Path(word) for word in words if Path(word).is_file() or "=" not in word]
    settings = [word for word in words if Path(word) not in sounds]
    if not sounds:
        raise VegasError("no recording to paint; give wav, flac, ogg or mp3 files")
    run = [word.removeprefix("adapters=") for word in settings if word.startswith("adapters=")]
    overrides = [word for word in settings if not word.startswith("adapters=")]
    if run:
        overrides.insert(0, f"run={run[-1]}")
    defaults = compose(overrides)
    config = restored(painting.stored_sections(Path(defaults.paths.runs) / defaults.run), overrides)
    for painted in painting.paint(sounds, config, output):
        print(painting.describe(painted))
    print(painting.DISTANCES)


@app.command()
def render(
    embeddings: Annotated[Path, typer.Argument(help="Folder, or folder of folders, of images.output=embeddings.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="KEY=VALUE … over the stored settings: renderer.*, device, images.*.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the pictures; default: beside the embeddings.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Draw all pictures again.")] = False,
) -> None:
    """Draw pictures from the embeddings of a run.

    They are what images.output=embeddings wrote, here or on another machine.
    """
    from vegas_fl.core.devices import resolve_device
    from vegas_fl.rendering import embeddings_file
    from vegas_fl.rendering.jobs import Job
    from vegas_fl.rendering.render import render as draw

    logs.show(sys.stderr)
    if strange := [word for word in overrides or [] if "=" not in word]:
        raise VegasError(
            f"expected KEY=VALUE, got {strange[0]!r}; to draw several folders at once, name the folder above them"
        )
    found = embeddings_file.find_prompts(embeddings)
    top = embeddings if embeddings.is_dir() else embeddings.parent
    for folder, prompts in found.items():
        config = restored({"renderer": prompts.renderer}, overrides or [])
        path = output / folder.relative_to(top) if output else folder
        feed, files = embeddings_file.FileFeed(prompts), {"embeddings": [str(file) for file in prompts.files]}
        job = Job(prompts.node, path, prompts.pictures, feed, prompts.recipes, files, prompts.adapter)
        again = overwrite or config.images.overwrite
        drawn = draw(job, config, resolve_device(config.device), overwrite=again, show=True)
        print(f"{job.name}: {drawn.there} pictures in {job.path}, {drawn.new} of them new")
