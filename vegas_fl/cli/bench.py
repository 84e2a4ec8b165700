"""`vegas-fl bench`: the measurements behind the figures of the README."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.core import logs

bench = typer.Typer(help="Measure: the figures of the README.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.command()
def quality(
    root: Annotated[Path, typer.Argument(help="ESC-50, or a part of it with the classes of ESC-10.")],
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 5,
    output: Annotated[Path, typer.Option(help="CSV file; what it holds already is not run again.")] = Path(
        "runs/bench-quality.csv"
    ),
) -> None:
    """Every aggregation on real recordings, mean and deviation over seeds, as a table."""
    from vegas_fl.benchmarks import quality as benchmark

    logs.show(sys.stderr)
    print(benchmark.table(benchmark.bench(root, range(seeds), output)))


@bench.command()
def adapter(
    root: Annotated[
        Path | None, typer.Argument(help="ESC-50 or ESC-10, for the accuracies; none: costs alone.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Clips a training step.")] = 8,
) -> None:
    """The adapter's order against the replaced system's: a training step at FLUX.1's shapes, accuracy on ESC-10."""
    from vegas_fl.benchmarks import adapter as benchmark
    from vegas_fl.config import compose

    print(benchmark.table(root, compose(["adapter=attention"]).adapter, batch))


@bench.command()
def scale(
    nodes: Annotated[list[int], typer.Option(help="Numbers of nodes; repeatable.")] = [10, 100],  # noqa: B006
) -> None:
    """Time of a distillation and peak memory against the number of nodes."""
    from vegas_fl.benchmarks import scale as benchmark

    print(benchmark.table(tuple(nodes)))


@bench.command()
def embedding(
    clips: Annotated[int, typer.Option(help="How many toy clips.")] = 10_000,
    processes: Annotated[int, typer.Option(help="How many processes embed the same clips at the same time.")] = 2,
    kills: Annotated[int, typer.Option(help="How often a process is killed before one may end.")] = 5,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the caches, kept; default: one that is removed.")
    ] = None,
) -> None:
    """Embed toy clips by several processes at once, again from the cache, by one process, and by one that is killed."""
    import tempfile

    from vegas_fl.benchmarks import embedding as benchmark

    logs.show(sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        print(benchmark.measure(clips, processes, kills, cache or Path(folder)))


@bench.command()
def targets(
    root: Annotated[Path, typer.Argument(help="ESC-50, or a part of it with the classes of ESC-10.")],
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 3,
) -> None:
    """Text targets of classes against targets of clips: accuracy, and how much outputs vary within a class."""
    from vegas_fl.benchmarks import targets as benchmark

    logs.show(sys.stderr)
    print(benchmark.bench(root, range(seeds)))


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

    config = compose(["images.sheet_columns=0", *(overrides or [])])
    for line in benchmark.speed(config, pictures, repeats):
        print(line)
    if memory:
        for line in benchmark.peak_memory(config):
            print(line)


@bench.command()
def kills(
    count: Annotated[int, typer.Option(help="Runs, each with one kill.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    folder: Annotated[Path | None, typer.Option(help="Empty folder, kept; default: one that is removed.")] = None,
) -> None:
    """Runs of a deployment on this machine, a process of which is killed: are their files an undisturbed run's?"""
    import tempfile

    from vegas_fl.benchmarks import kills as benchmark

    with tempfile.TemporaryDirectory() as temporary:
        same = 0
        for one in benchmark.bench(folder or Path(temporary), count, seed):
            same += one.same
            print(
                f"{one.victim} killed after {one.moment:.0f} s: {one.commands} commands, {one.seconds:.0f} s, "
                f"{'the same files' if one.same else 'OTHER FILES'}",
                flush=True,
            )
        print(f"{same} of {count} runs ended with the same files")


@bench.command()
def overhead(
    nodes: Annotated[int, typer.Option(help="How many nodes.")] = 100,
    rounds: Annotated[int, typer.Option(help="Rounds; the first does not count.")] = 4,
) -> None:
    """What a node costs a round beside its training, in process and over Flower's simulation."""
    from vegas_fl.benchmarks import overhead as benchmark

    print(benchmark.table(nodes, rounds))
