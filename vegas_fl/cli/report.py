"""`vegas-fl report RUN` and `vegas-fl compare RUN RUN…`: the page of a run, and of several side by side; `vegas-fl
audit RUN`: what it reveals of the recordings."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.core import logs
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically

LONGEST = 80
"""Characters of the runs' names in the name of a page."""

Runs = Annotated[Path, typer.Option(help="Folder of the runs (paths.runs).")]


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Name or folder of the run.")],
    runs: Runs = Path("runs"),
) -> None:
    """Write the page of a run again, from its folder."""
    from vegas_fl.runs.report import page, table
    from vegas_fl.runs.report.read import find, read

    folder = find(run, runs)
    path = page.write(folder)
    for line in table.lines([read(folder)]):
        typer.echo(line)
    typer.echo(f"report: {path}")


@app.command()
def compare(
    run: Annotated[list[str], typer.Argument(help="Names or folders of the runs, for example of a sweep over seeds.")],
    output: Annotated[
        Path | None, typer.Option(help="Page to write, in place of one that is there; default: a new one in --runs.")
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write a page that compares several runs, and print its table.

    Of runs that differ only in their seed, mean and standard deviation are shown too. Earlier pages stay.
    """
    from vegas_fl.runs.report import page, seeds, table
    from vegas_fl.runs.report.read import find, read

    folders = list(dict.fromkeys(find(name, runs) for name in run))
    if len(folders) < 2:
        raise VegasError(f"compare expects two runs or more, got only {run[0]}; for one run: vegas-fl report {run[0]}")
    if output is not None and output.exists() and not _is_page(output):
        raise VegasError(f"--output {output} exists and is not a page; choose a file that ends with .html")
    chosen = [read(folder) for folder in folders]
    content = page.html(chosen).encode()
    path = output or _new(runs, [one.name for one in chosen], content)
    write_atomically(path, content)
    for line in (*table.lines(chosen), *seeds.lines(chosen)):
        typer.echo(line)
    typer.echo(f"page: {path}")


@app.command()
def audit(
    run: Annotated[str, typer.Argument(help="Name or folder of the run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE…]", help="Over the stored settings: places of recordings and checkpoints."),
    ] = None,
    node: Annotated[list[str] | None, typer.Option(help="A node whose recordings are here; default: all.")] = None,
    shadows: Annotated[int, typer.Option(min=0, help="Shadow models for each class, which calibrate attacks.")] = 2,
    canaries: Annotated[int, typer.Option(min=0, help="Canaries of the test for a lower bound on ε; 0: none.")] = 128,
    runs: Runs = Path("runs"),
) -> None:
    """Attack a run's generators and adapters as one who has the clips and wants to know which were trained on.

    Tries to tell a node's training clips from its validation and test clips; adds the results to the run's page.
    """
    from vegas_fl.runs import audit as audits
    from vegas_fl.runs.report import page
    from vegas_fl.runs.report.read import find

    logs.show(sys.stderr)
    folder = find(run, runs)
    results = audits.Audit(folder, overrides or [], node or []).run(shadows, canaries)
    for line in audits.lines(results):
        typer.echo(line)
    typer.echo(f"results: {folder / audits.NAME}; page: {page.write(folder)}")


def _is_page(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[:15].lower() == b"<!doctype html>"


def _new(runs: Path, names: Sequence[str], content: bytes) -> Path:
    """A page named after the runs, where none is, or the same."""
    name = "-".join(["compare", *(name.replace("/", "-") for name in names)])
    if len(name) > LONGEST:
        name = f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    number = 1
    while (path := runs / (f"{name}.html" if number == 1 else f"{name}-{number}.html")).exists():
        if path.is_file() and path.read_bytes() == content:
            break
        number += 1
    return path
