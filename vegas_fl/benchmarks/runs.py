"""What the benchmarks share: runs of the product, embeddings of its recordings, and how results are written."""

import json
import multiprocessing
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from vegas_fl.audio.clips import Clip
from vegas_fl.audio.embeddings import embed
from vegas_fl.config import Config, compose
from vegas_fl.data.datasets import open_dataset
from vegas_fl.data.datasets.recipes import RECIPES
from vegas_fl.data.splits import node_clips

Accuracies = dict[str, dict[str, float]]
"""Adapter → branch → accuracy on unseen clips."""

T = TypeVar("T")


def run_in(folder: Path, overrides: Sequence[str]) -> list[dict[str, Any]]:
    """Run vegas-fl with all its output in ``folder``; the lines of its ``metrics.jsonl``."""
    from vegas_fl.engines.run import run
    from vegas_fl.rendering.plan import node_bytes

    places = [f"paths.checkpoints={folder}/checkpoints", f"paths.runs={folder}/runs", f"images_output_dir={folder}/out"]
    config = compose([*overrides, *places])
    run(config, node_bytes)
    return [
        json.loads(line) for line in (folder / "runs" / config.run / "metrics.jsonl").read_text("utf8").splitlines()
    ]


def evaluated(folder: Path, overrides: Sequence[str]) -> list[Accuracies]:
    """Run vegas-fl in ``folder``; the accuracies of each evaluated round."""
    results: dict[int, Accuracies] = {}
    for line in run_in(folder, [*overrides, "evaluation.generators=false"]):
        if line["stage"] == "evaluation":
            results.setdefault(line["round"], {}).setdefault(line["adapter"], {})[line["branch"]] = line["accuracy"]
    return [results[round_] for round_ in sorted(results)]


def toy_nodes(count: int, samples: int) -> list[str]:
    """Overrides for ``count`` nodes of one toy class each, with ``samples`` samples each."""
    classes = sorted(RECIPES)
    return [
        f"nodes.{i}={{selected_classes: [{classes[i % len(classes)]}], samples_per_node: {samples}}}"
        for i in range(count)
    ]


def held(config: Config, part: Literal["train", "val", "test"]) -> list[Clip]:
    """The clips of one part of all nodes together, sorted by class and name."""
    dataset = open_dataset(config.data)
    splits = [node_clips(config.data, config.nodes, node, dataset) for node in config.nodes]
    found = [clip for split in splits for clips in getattr(split, part).values() for clip in clips]
    return sorted(found, key=lambda clip: (clip.label, clip.name))


def embedded(config: Config, part: Literal["train", "val", "test"]) -> tuple[Tensor, Tensor]:
    """Embeddings ``[N, S, D]`` of the clips returned by :func:`held`, and their class indices ``[N]``."""
    clips = held(config, part)
    cache = Path(config.paths.cache).expanduser() / "embeddings"
    audio = embed(clips, config.encoder, cache_dir=cache, max_seconds=config.data.max_seconds)
    return audio, torch.tensor([config.classes.index(clip.label) for clip in clips])


def apart(function: Callable[..., T], *arguments: Any) -> T:
    """The result of a function called in a fresh process, whose memory and threads are its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_bytes() -> int:
    """Peak resident memory of this process."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would return the parent's peak where that is higher
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean ± standard deviation; "" for no values."""
    if not values:
        return ""
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values) if len(values) > 1 else 0:.3f}"
