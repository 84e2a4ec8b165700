"""`vegas-fl data`: what the nodes of a configuration hold, and whether it is sound."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegas_fl.cli.app import app

if TYPE_CHECKING:
    from vegas_fl.config import Config

data = typer.Typer(help="Look at the recordings of a configuration.", no_args_is_help=True)
app.add_typer(data, name="data")

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, as of a run: experiment=… data.root=…")
]
PictureFile = Annotated[
    Path | None, typer.Option("--picture", help="PNG of clips by class and node, and of their lengths.")
]


@data.command()
def stats(overrides: Overrides = None, picture: PictureFile = None) -> None:
    """Clips of each class on each node, how long they are and their rates, from the files' headers."""
    for problem in _told(overrides, picture, listen=False):
        print(f"- {problem}")


@data.command()
def check(overrides: Overrides = None, picture: PictureFile = None) -> None:
    """Read every recording: what cannot be used, copies across nodes and parts, clips of one source on both sides of a
    test. Ends with 1 if there is any."""
    problems = _told(overrides, picture, listen=True)
    print("\n".join(f"- {problem}" for problem in problems) or "no problem found")
    if problems:
        sys.exit(1)


def _composed(overrides: list[str] | None) -> Config:
    """The configuration, its data settings checked."""
    from vegas_fl.config import compose, sound
    from vegas_fl.runs import preflight

    return sound(lambda: compose(overrides or ()), preflight.check_recordings)


def _told(overrides: list[str] | None, picture: Path | None, *, listen: bool) -> list[str]:
    """Show the table, the picture, and what is not read; return what is wrong."""
    from vegas_fl.data import survey

    config = _composed(overrides)
    entries = survey.survey(config, listen=listen, progress=True)
    print(survey.table(survey.summaries(entries)))
    if picture:
        survey.picture(entries, picture)
        print(f"picture: {picture}")
    for sentence in survey.passed_over(config):
        print(f"note: {sentence}")
    return survey.problems(entries)
