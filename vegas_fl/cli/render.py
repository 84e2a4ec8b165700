"""`vegas-fl render`: embeddings that a node wrote, drawn here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.core.errors import VegasError


@app.command()
def render(
    embeddings: Annotated[
        Path, typer.Argument(help="Folder, or folder of folders, that images.output=embeddings wrote.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="KEY=VALUE … over what the embeddings say: renderer.*, device, images.*.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where the pictures go; default: beside their embeddings.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Draw all anew, whatever is there.")] = False,
) -> None:
    """Draw the pictures of embeddings that were written elsewhere (images.output=embeddings)."""
    from vegas_fl.config import restored
    from vegas_fl.core import logs
    from vegas_fl.core.devices import resolve_device
    from vegas_fl.rendering import embeddings_file
    from vegas_fl.rendering.jobs import Job
    from vegas_fl.rendering.render import render as draw

    logs.show(sys.stderr)
    if strange := [word for word in overrides or [] if "=" not in word]:
        raise VegasError(f"{strange[0]} is no KEY=VALUE; to draw several folders at once, give the folder they are in")
    found = embeddings_file.find_prompts(embeddings)
    top = embeddings if embeddings.is_dir() else embeddings.parent
    for folder, prompts in found.items():
        config = restored({"renderer": prompts.renderer}, overrides or [])
        path = output / folder.relative_to(top) if output else folder
        feed, files = embeddings_file.FileFeed(prompts), {"embeddings": [str(file) for file in prompts.files]}
        job = Job(prompts.node, path, prompts.pictures, feed, prompts.recipes, files)
        anew = overwrite or config.images.overwrite
        drawn = draw(job, config, resolve_device(config.device), overwrite=anew, show=True)
        print(f"{job.name}: {drawn.there} pictures in {job.path}, {drawn.new} of them new")
