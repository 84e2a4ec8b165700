"""What the benchmarks share: runs of the product, embeddings of its recordings, and how figures are written."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vegas_fl.audio.clips import Clip
from vegas_fl.audio.embeddings import embed
from vegas_fl.config import Config, compose
from vegas_fl.data.datasets import open_dataset
from vegas_fl.data.splits import node_clips

Accuracies = dict[str, dict[str, float]]
"""Adapter → branch → accuracy on unseen clips."""


def evaluated(folder: Path, overrides: Sequence[str]) -> list[Accuracies]:
    """Run vegas-fl in ``folder``; the accuracies of each evaluated round."""
    from vegas_fl.engines.run import run

    places = [f"paths.checkpoints={folder}/checkpoints", f"paths.runs={folder}/runs", f"images_output_dir={folder}/out"]
    config = compose([*overrides, *places, "evaluation.generators=false"])
    run(config)
    lines = (folder / "runs" / config.run / "metrics.jsonl").read_text("utf8").splitlines()
    results: dict[int, Accuracies] = {}
    for line in map(json.loads, lines):
        if line["stage"] == "evaluation":
            results.setdefault(line["round"], {}).setdefault(line["adapter"], {})[line["branch"]] = line["accuracy"]
    return [results[round_] for round_ in sorted(results)]


def held(config: Config, part: Literal["train", "val", "test"]) -> list[Clip]:
    """The clips that all nodes have for a part, sorted by class and name, whoever has them."""
    dataset = open_dataset(config.data)
    splits = [node_clips(config.data, config.nodes, node, dataset) for node in config.nodes]
    found = [clip for split in splits for clips in getattr(split, part).values() for clip in clips]
    return sorted(found, key=lambda clip: (clip.label, clip.name))


def embedded(config: Config, part: Literal["train", "val", "test"]) -> tuple[Tensor, Tensor]:
    """Embeddings ``[N, S, D]`` of the clips that :func:`held` names, and their class indices ``[N]``."""
    clips = held(config, part)
    cache = Path(config.paths.cache).expanduser() / "embeddings"
    audio = embed(clips, config.encoder, cache_dir=cache, max_seconds=config.data.max_seconds)
    return audio, torch.tensor([config.classes.index(clip.label) for clip in clips])


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation, as the tables have it; nothing of nothing."""
    if not values:
        return ""
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values) if len(values) > 1 else 0:.3f}"
