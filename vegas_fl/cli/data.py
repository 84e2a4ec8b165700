"""`vegas-fl data`: the recordings of a configuration, and what is wrong with them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.config import compose, sound
from vegas_fl.core import logs

data = typer.Typer(help="Look at the recordings of a configuration.", no_args_is_help=True)
app.add_typer(data, name="data")

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides as for a run: experiment=… data.root=…")
]
PictureFile = Annotated[
    Path | None, typer.Option("--picture", help="PNG to write: clips by class and node, and their lengths.")
]


@data.command()
def stats(overrides: Overrides = None, picture: PictureFile = None) -> None:
    """Count clips, lengths and rates by class and node.

    Only the headers of the files are read.
    """
    for problem in _problems(overrides, picture, listen=False):
        print(f"- {problem}")


@data.command()
def check(overrides: Overrides = None, picture: PictureFile = None) -> None:
    """Read every recording, and list what is wrong.

    Damaged and silent files, copies across nodes and parts, and clips of one source on both sides of a test; exits with
    1 if there are any.
    """
    problems = _problems(overrides, picture, listen=True)
    print("\n".join(f"- {problem}" for problem in problems) or "no problem found")
    if problems:
        sys.exit(1)


def _problems(overrides: list[str] | None, picture: Path | None, *, listen: bool) -> list[str]:
    """Print the table and the notes, write the picture; return the problems."""
    from vegas_fl.data import survey
    from vegas_fl.data.checks import check_recordings

    config = sound(lambda: compose(overrides or ()), check_recordings)
    logs.show(sys.stderr)
    entries = survey.survey(config, listen=listen, progress=True)
    print(survey.table(survey.summaries(entries)))
    if picture:
        survey.picture(entries, picture)
        print(f"picture: {picture}")
    for sentence in survey.notes(config, entries):
        print(f"note: {sentence}")
    return survey.problems(entries)
