"""Do pictures vary with the sound, and at what price? Class targets against clip targets, on real ESC-10.

Ten nodes of one class, knowledge distillation, the same seeds; generators of ``attributes`` know
the measured attributes too. The figures are those of the global
adapter on clips that no node trained on. Each fold is the unseen one in turn, so accuracies are over 320 clips per
seed. Diversity by itself might be noise, so the table also has how closely outputs follow the words that describe a
clip.
"""

import logging
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from vegas_fl.algorithm.adapter import standardisation
from vegas_fl.algorithm.targets import vary_within_classes
from vegas_fl.algorithm.training import adapt
from vegas_fl.audio import attributes
from vegas_fl.benchmarks.runs import embedded, evaluated, held, markdown, mean_and_deviation
from vegas_fl.config import Config, compose
from vegas_fl.data.classes import described
from vegas_fl.rendering.text_targets import prompt_targets, text_targets
from vegas_fl.storage.adapters import load_adapter
from vegas_fl.storage.names import find_adapters

log = logging.getLogger(__name__)

KINDS = ("class", "attributes")

FOLDS = (1, 2, 3, 4)

RATE = 16_000
"""Sample rate in Hz at which attributes are measured, as on the nodes."""


def diversity(outputs: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor) -> float:
    """Root mean square distance of outputs ``[N, ...]`` from the mean of their class, in units of the class targets'
    ``[K, ...]`` own deviation."""
    return float(within(outputs, labels).square().mean().sqrt() / standardisation(targets)[1])


def followed(outputs: torch.Tensor, labels: torch.Tensor, own: torch.Tensor) -> float:
    """How much of the variation of the clips' ``own`` targets ``[N, ...]`` within a class is found in ``outputs``
    ``[N, ...]``: 0 none, 1 all (the slope of a regression of one on the other)."""
    shown, asked = within(outputs, labels), within(own, labels)
    return float((shown * asked).sum() / asked.square().sum())


def within(rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Differences of the rows ``[N, ...]`` from the mean of their class."""
    means = {int(label): rows[labels == label].mean(0) for label in labels.unique()}
    return rows - torch.stack([means[int(label)] for label in labels])


def bench(root: Path, seeds: Sequence[int], kinds: Sequence[str] = KINDS) -> str:
    """A Markdown table of accuracy, diversity and :func:`followed`, as means over folds.

    Values are mean and deviation over seeds, followed by those of the differences from the first kind, seed by seed.
    """
    figures: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for seed in seeds:
        folds = [_fold(root, seed, fold, kinds) for fold in FOLDS]
        for kind in kinds:
            figures[kind].append([statistics.mean(column) for column in zip(*(f[kind] for f in folds), strict=True)])
            log.info("seed %d, %s: %s", seed, kind, " ".join(f"{figure:.4f}" for figure in figures[kind][-1]))
    first, *others = kinds
    rows = [(kind, figures[kind]) for kind in kinds]
    rows += [(f"{kind} - {first}", differences(figures[kind], figures[first])) for kind in others]
    return markdown(
        ["targets", "accuracy CLIP", "T5", "diversity CLIP", "T5", "followed CLIP", "T5"],
        [[name, *map(mean_and_deviation, zip(*of, strict=True))] for name, of in rows],
    )


def differences(figures: list[list[float]], others: list[list[float]]) -> list[list[float]]:
    """Figures minus others, a row per seed."""
    return [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(figures, others, strict=True)]


def _fold(root: Path, seed: int, fold: int, kinds: Sequence[str]) -> dict[str, list[float]]:
    """Accuracy, diversity and :func:`followed` of each kind of target on the clips of one fold, each by branch."""
    train = [other for other in FOLDS if other != fold]
    common = ["experiment=esc10_10n", f"data.root={root}", f"seed={seed}"]
    common += [f"data.train_folds={train}", f"data.test_folds=[{fold}]"]
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            overrides = [
                *common,
                "stages=[generators,adapters]",
                f"run={kind}",
                f"targets={kind}",
                "evaluation.compare=[]",
            ]
            (result,) = evaluated(Path(folder), overrides)
            varied = _varied(Path(folder), compose(overrides))
            figures[kind] = [result["kd"]["clip"], result["kd"]["t5"], *varied]
    return figures


def _varied(folder: Path, config: Config) -> list[float]:
    """Diversity and :func:`followed` of the run's global adapter, each by branch."""
    rounds = find_adapters(folder / "checkpoints" / "adapters" / config.run)
    audio, labels = embedded(config, "test")
    cache = Path(config.paths.cache).expanduser()
    targets = text_targets(config.classes, config.renderer, cache, "cpu")
    texts = [
        described(clip.label, attributes.measure(clip.read(RATE, config.data.max_seconds), RATE).words)
        for clip in held(config, "test")
    ]
    prompts = prompt_targets([f"a photo of {text}" for text in texts], config.renderer, cache, "cpu")
    own = vary_within_classes(targets, labels, prompts)
    outputs = adapt(load_adapter(rounds[max(rounds)]).build(), audio)
    diversities = [diversity(output, labels, of) for output, of in zip(outputs, targets, strict=True)]
    return diversities + [followed(output, labels, of) for output, of in zip(outputs, own, strict=True)]
