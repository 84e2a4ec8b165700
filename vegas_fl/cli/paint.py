"""`vegas-fl paint`: draw recordings with the adapters of a run."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.config import compose, restored
from vegas_fl.core import logs
from vegas_fl.core.errors import VegasError


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
