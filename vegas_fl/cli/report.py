"""`vegas-fl report RUN`: write a run's page again from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Name or folder of the run.")],
    runs: Annotated[Path, typer.Option(help="Folder of the runs (paths.runs).")] = Path("runs"),
) -> None:
    """Write the page of a run again, from its folder."""
    from vegas_fl.runs.report import page, table
    from vegas_fl.runs.report.read import find, read

    folder = find(run, runs)
    path = page.write(folder)
    for line in table.lines([read(folder)]):
        typer.echo(line)
    typer.echo(f"report: {path}")
