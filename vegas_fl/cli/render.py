"""`vegas-fl render`: draw embeddings that were written elsewhere."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.config import restored
from vegas_fl.core import logs
from vegas_fl.core.errors import VegasError


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
