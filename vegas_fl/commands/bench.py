"""`vegas-fl bench`: the measurements behind the figures of the README."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.commands import app

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"

bench = typer.Typer(help="Measure: the figures of the README.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.command()
def quality(
    root: Annotated[Path, typer.Argument(help="ESC-50, or a part of it with the classes of ESC-10.")],
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 5,
    output: Annotated[Path, typer.Option(help="CSV file; what it holds already is not run again.")] = RESULTS
    / "quality.csv",
) -> None:
    """Every aggregation on real recordings, mean and deviation over seeds, as a table."""
    from vegas_fl.benchmarks import quality as benchmark

    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("vegas_fl").setLevel(logging.INFO)
    print(benchmark.table(benchmark.bench(root, range(seeds), output)))
