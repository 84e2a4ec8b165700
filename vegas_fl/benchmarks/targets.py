"""Do pictures vary with the sound, and at what price? Targets of classes against targets of clips, on real ESC-10.

Ten nodes of one class, knowledge distillation, the same generators and seeds; the figures are of the global adapter on
the clips no node trained on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from vegas_fl.adapters import Conditioning, standardisation
from vegas_fl.benchmarks.runs import embedded, evaluated, spread
from vegas_fl.checkpoints import find_adapters, load_adapter
from vegas_fl.config import Config, compose
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
            evaluated(Path(folder), [*common, "stages=[generators]", "run=generators"])
            for kind in kinds:
                overrides = [*common, "stages=[adapters]", f"run={kind}", f"targets={kind}", "evaluation.compare=[]"]
                (result,) = evaluated(Path(folder), overrides)
                diversities = _diversities(Path(folder), compose(overrides))
                figures[kind].append([result["kd"]["clip"], result["kd"]["t5"], *diversities])
    lines = ["| targets | accuracy CLIP | T5 | diversity CLIP | T5 |", "|---|---|---|---|---|"]
    for kind, rows in figures.items():
        cells = [spread(column) for column in zip(*rows, strict=True)]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _diversities(folder: Path, config: Config) -> list[float]:
    """Diversity of the run's global adapter, by branch."""
    rounds = find_adapters(folder / "checkpoints" / "adapters" / config.run)
    adapter = load_adapter(rounds[max(rounds)]).build()
    audio, labels = embedded(config, "test")
    targets = text_targets(config.classes, config.renderer, Path(config.paths.cache).expanduser(), "cpu")
    outputs = adapt(adapter, audio)
    return [diversity(getattr(outputs, b), labels, getattr(targets, b)) for b in Conditioning._fields]
