"""`vegas-fl compare RUN RUN…`: several runs side by side on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically


@app.command()
def compare(
    run: Annotated[list[str], typer.Argument(help="Names or folders of the runs.")],
    output: Annotated[Path | None, typer.Option(help="Page to write; default: compare.html in --runs.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs (paths.runs).")] = Path("runs"),
) -> None:
    """Write a page that compares several runs, and print its table."""
    from vegas_fl.runs.report import page, table
    from vegas_fl.runs.report.read import find, read

    if len(run) < 2:
        raise VegasError(f"compare expects two runs or more, got only {run[0]}; for one run: vegas-fl report {run[0]}")
    chosen = [read(find(name, runs)) for name in run]
    path = output or runs / "compare.html"
    write_atomically(path, page.html(chosen).encode())
    for line in table.lines(chosen):
        typer.echo(line)
    typer.echo(f"page: {path}")
