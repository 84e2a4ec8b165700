"""Do pictures vary with the sound, and at what price? Targets of classes against targets of clips, on real ESC-10.

Ten nodes of one class, knowledge distillation, the same generators and seeds; the figures are of the global adapter on
the clips no node trained on.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from vegas_fl.adapters import Conditioning, standardisation
from vegas_fl.benchmarks.quality import _run
from vegas_fl.checkpoints import find_adapters, load_adapter
from vegas_fl.config import Config, compose
from vegas_fl.datasets import open_dataset
from vegas_fl.embeddings import embed
from vegas_fl.splits import node_clips
from vegas_fl.targets import text_targets
from vegas_fl.training import adapt

KINDS = ("class", "attributes")


def diversity(outputs: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor) -> float:
    """Root mean square distance of outputs ``[N, ...]`` from the mean of their class, in units of how far the class
    targets ``[K, ...]`` lie apart."""
    apart = [outputs[labels == label] - outputs[labels == label].mean(0) for label in labels.unique()]
    return float(torch.cat(apart).square().mean().sqrt() / standardisation(targets)[1])


def bench(root: Path, seeds: Sequence[int], kinds: Sequence[str] = KINDS) -> str:
    """A Markdown table of accuracy and diversity within a class, mean and deviation over seeds."""
    figures: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for seed in seeds:
        common = ["experiment=esc10_10n", f"data.root={root}", f"seed={seed}", "series=generators"]
        with tempfile.TemporaryDirectory() as folder:
            _run(Path(folder), [*common, "stages=[generators]", "run=generators"])
            for kind in kinds:
                overrides = [*common, "stages=[adapters]", f"run={kind}", f"targets={kind}", "evaluation.compare=[]"]
                (result,) = _run(Path(folder), overrides)
                spread = _spreads(Path(folder), compose(overrides))
                figures[kind].append([result["kd"]["clip"], result["kd"]["t5"], *spread])
    lines = ["| targets | accuracy CLIP | T5 | diversity CLIP | T5 |", "|---|---|---|---|---|"]
    for kind, rows in figures.items():
        cells = [f"{statistics.mean(c):.3f} ± {statistics.pstdev(c):.3f}" for c in zip(*rows, strict=True)]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spreads(folder: Path, config: Config) -> list[float]:
    """Diversity of the run's global adapter, by branch."""
    rounds = find_adapters(folder / "checkpoints" / "adapters" / config.run)
    adapter = load_adapter(rounds[max(rounds)]).build()
    cache = Path(config.paths.cache).expanduser()
    dataset = open_dataset(config.data)
    clips = [
        clip
        for node in config.nodes
        for part in node_clips(config.data, config.nodes, node, dataset).test.values()
        for clip in part
    ]
    audio = embed(clips, config.encoder, cache_dir=cache / "embeddings", max_seconds=config.data.max_seconds)
    labels = torch.tensor([config.classes.index(clip.label) for clip in clips])
    targets = text_targets(config.classes, config.renderer, cache, "cpu")
    outputs = adapt(adapter, audio)
    return [diversity(getattr(outputs, b), labels, getattr(targets, b)) for b in Conditioning._fields]
