"""`vegas-fl compare RUN RUN…`: several runs side by side on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app


@app.command()
def compare(
    run: Annotated[list[str], typer.Argument(help="Names of the runs, or their folders.")],
    output: Annotated[Path | None, typer.Option(help="The page to write; without it, compare.html in --runs.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs, as paths.runs.")] = Path("runs"),
) -> None:
    """Several runs on one page, side by side; the table is printed too."""
    from vegas_fl.core.errors import VegasError
    from vegas_fl.core.files import write_atomically
    from vegas_fl.runs.report import page, table
    from vegas_fl.runs.report.read import find, read

    if len(run) < 2:
        raise VegasError(
            f"compare needs two runs or more, and got {run[0]} alone; for one run: vegas-fl report {run[0]}"
        )
    chosen = [read(find(name, runs)) for name in run]
    path = output or runs / "compare.html"
    write_atomically(path, page.html(chosen).encode())
    for line in table.lines(chosen):
        typer.echo(line)
    typer.echo(f"page: {path}")
