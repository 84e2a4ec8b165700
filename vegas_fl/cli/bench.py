"""`vegas-fl bench`: the measurements behind docs/measured.md."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from vegas_fl.cli.app import app
from vegas_fl.config import compose
from vegas_fl.core import logs
from vegas_fl.core.errors import VegasError

bench = typer.Typer(help="Repeat the measurements of docs/measured.md.", no_args_is_help=True)
app.add_typer(bench, name="bench")

Root = Annotated[Path, typer.Argument(help="ESC-50, or a part of it with the classes of ESC-10.")]
Suite = Literal["aggregations", "esc10", "instruments", "fewshot", "noisy", "crossbank"]


@bench.command()
def quality(
    root: Annotated[Path, typer.Argument(help="ESC-50 or its ESC-10, or instruments in the same layout.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="KEY=VALUE …, not of aggregations.")] = None,
    suite: Annotated[Suite, typer.Option(help="What is measured.")] = "aggregations",
    seeds: Annotated[int | None, typer.Option(help="Number of seeds; default: 3, of aggregations 5.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="CSV file; results in it are kept. Default: runs/bench-<suite>.csv.")
    ] = None,
) -> None:
    """Accuracy of every aggregation on ESC-10, or of methods on harder recordings.

    The suites: esc10 (folds 1 to 4 in turn), instruments (trained on one studio, tested on another), fewshot (4 and 8
    clips a class), noisy (another class underneath), crossbank (two owners of a class, a third studio unseen). Their
    intervals are over source recordings; a figure is written beside the CSV file.
    """
    from vegas_fl.benchmarks import quality as aggregations
    from vegas_fl.benchmarks import results

    logs.show(sys.stderr)
    output = output or Path(f"runs/bench-{suite}.csv")
    if suite == "aggregations":
        if overrides:
            raise VegasError(
                f"--suite aggregations takes no overrides, got {' '.join(overrides)}; choose another suite"
            )
        print(aggregations.table(aggregations.bench(root, range(seeds or 5), output)))
    else:
        print(results.bench(root, suite, range(seeds or 3), output, overrides or []))


@bench.command()
def adapter(
    root: Annotated[Path | None, typer.Argument(help="ESC-50 or ESC-10, to measure accuracy too.")] = None,
    batch: Annotated[int, typer.Option(help="Clips per training step.")] = 8,
) -> None:
    """Cost and accuracy of the adapter's order of layers.

    Compared are attention before the MLP, and the replaced system's MLP first: a training step at FLUX.1's shapes, and
    accuracy on ESC-10.
    """
    from vegas_fl.benchmarks import adapter as benchmark

    print(benchmark.table(root, compose(["adapter=attention"]).adapter, batch))


@bench.command()
def scale(
    nodes: Annotated[list[int], typer.Option(help="Number of nodes; repeatable.")] = [10, 100],  # noqa: B006
) -> None:
    """Time and memory of the server by number of nodes."""
    from vegas_fl.benchmarks import scale as benchmark

    print(benchmark.table(tuple(nodes)))


@bench.command()
def distillation(
    nodes: Annotated[list[int], typer.Option(help="Number of nodes; repeatable.")] = [10, 40],  # noqa: B006
    tokens: Annotated[int, typer.Option(help="Audio tokens of a sample; 1214 are AST's.")] = 101,
    device: Annotated[str, typer.Option(help="cpu, cuda, …")] = "cpu",
) -> None:
    """Time and memory of a distillation at FLUX.1's widths.

    2000 samples of ten random generators, taught by random adapters.
    """
    from vegas_fl.benchmarks import distillation as benchmark

    print(benchmark.table(tuple(nodes), tokens, device))


@bench.command()
def gpu(
    output: Annotated[Path, typer.Option(help="CSV file, written as it goes.")] = Path("runs/bench-gpu.csv"),
    seconds: Annotated[float, typer.Option(help="Time for all checks; later ones are skipped.")] = 570,
) -> None:
    """Results, memory and speed on a GPU, at FLUX.1's full size.

    Pictures and losses are compared with the CPU's; FLUX.1's weights are random (36 GB in the temporary folder). Ends
    with 1 if a figure is not as expected.
    """
    from vegas_fl.benchmarks import gpu as benchmark

    failed = False
    for name, row in benchmark.bench(output, seconds):
        mark = {True: "ok", False: "NOT AS EXPECTED", None: "not measured"}[row.good]
        print(f"{mark:<16}{name}: {row.what}: {row.measured} (expected: {row.bar})", flush=True)
        failed |= row.good is False
    raise typer.Exit(int(failed))


@bench.command()
def embedding(
    clips: Annotated[int, typer.Option(help="Number of toy clips.")] = 10_000,
    processes: Annotated[int, typer.Option(help="Processes that embed the same clips at once.")] = 2,
    kills: Annotated[int, typer.Option(help="Processes killed before the last one may finish.")] = 5,
    cache: Annotated[Path | None, typer.Option(help="Folder for the caches, kept; default: a temporary one.")] = None,
) -> None:
    """Time of embedding, and whether the cache survives.

    Toy clips are embedded by several processes at once, from the cache, by one process, and by one that is killed.
    """
    from vegas_fl.benchmarks import embedding as benchmark

    logs.show(sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        print(benchmark.measure(clips, processes, kills, cache or Path(folder)))


@bench.command()
def targets(root: Root, seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3) -> None:
    """Accuracy and variety with class and clip targets."""
    from vegas_fl.benchmarks import targets as benchmark

    logs.show(sys.stderr)
    print(benchmark.bench(root, range(seeds)))


@bench.command()
def render(
    overrides: Annotated[list[str] | None, typer.Argument(help="KEY=VALUE …: renderer.*, device.")] = None,
    pictures: Annotated[int, typer.Option(help="Pictures per measurement.")] = 60,
    repeats: Annotated[int, typer.Option(help="Measurements of each way; the median counts.")] = 5,
    memory: Annotated[bool, typer.Option(help="Also measure the peak memory of 50 and of 2000 pictures.")] = True,
) -> None:
    """Pictures per second, and peak memory.

    Measured against plain loops over FluxPipeline.
    """
    from vegas_fl.benchmarks import rendering as benchmark

    config = compose(["images.sheet_columns=0", *(overrides or [])])
    for line in benchmark.speed(config, pictures, repeats):
        print(line)
    if memory:
        for line in benchmark.peak_memory(config):
            print(line)


@bench.command()
def kills(
    count: Annotated[int, typer.Option(help="Runs, each with one kill.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the moments of the kills.")] = 0,
    folder: Annotated[Path | None, typer.Option(help="Empty folder, kept; default: a temporary one.")] = None,
) -> None:
    """Kill a process in each run of a deployment.

    The files of each run are compared with those of an undisturbed one.
    """
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
    nodes: Annotated[int, typer.Option(help="Number of nodes.")] = 100,
    rounds: Annotated[int, typer.Option(help="Rounds; the first does not count.")] = 4,
) -> None:
    """Overhead per node and round, with either engine."""
    from vegas_fl.benchmarks import overhead as benchmark

    print(benchmark.table(nodes, rounds))
