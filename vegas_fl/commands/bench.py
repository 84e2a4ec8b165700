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


@bench.command()
def render(
    overrides: Annotated[list[str] | None, typer.Argument(help="KEY=VALUE …: renderer.*, device.")] = None,
    pictures: Annotated[int, typer.Option(help="Pictures a measurement.")] = 60,
    repeats: Annotated[int, typer.Option(help="Measurements of each way, in turns; the median counts.")] = 5,
    memory: Annotated[bool, typer.Option(help="Measure the peak memory of 50 and of 2000 pictures too.")] = True,
) -> None:
    """Pictures a second against plain loops over FluxPipeline, and peak memory."""
    from vegas_fl.benchmarks import rendering as benchmark
    from vegas_fl.config import compose

    config = compose(overrides or [])
    for line in benchmark.speed(config, pictures, repeats):
        print(line)
    if memory:
        for line in benchmark.peak_memory(overrides or []):
            print(line)
