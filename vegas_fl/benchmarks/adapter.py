"""The order of the adapter's layers: attention before the MLP (ours) against the replaced system's opposite.

The replaced system ran an MLP on every audio token, up to the width of the target, and then pooled by attention. Its
two branches are rebuilt here from PyTorch's own layers, so that cost and accuracy can be compared at equal widths.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Adapter, AdapterShape, Conditioning
from vegas_fl.algorithm.training import adapt, train_adapter
from vegas_fl.benchmarks.runs import apart, embedded, markdown, mean_and_deviation, peak_bytes
from vegas_fl.config import BRANCHES, AdapterConfig, compose
from vegas_fl.core import seeds
from vegas_fl.rendering.text_targets import text_targets

FLUX = AdapterShape(audio_tokens=1214, audio_width=768, clip_width=768, t5_tokens=17, t5_width=4096)
"""All tokens of AST, FLUX.1's text widths, and the 17 T5 tokens that the replaced system's adapter produced."""
REPLACED = {"clip": (1024, 2048), "t5": (1024, 2048, 2048)}
"""Hidden widths of the replaced system's MLPs at this shape."""


class MLPFirst(nn.Module):
    """A branch in the replaced system's order: ``[B, S, D]`` → MLP on every token → attention pooling ``[B, L, O]``.

    Parameters
    ----------
    audio_width, latents, output_width : int
        D, L and O.
    hidden : tuple of int
        Hidden widths of the MLP.
    heads : int
        Heads of the attention.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, audio_width: int, latents: int, output_width: int, hidden: tuple[int, ...], heads: int) -> None:
        super().__init__()
        widths = (audio_width, *hidden, output_width)
        layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.GELU())]
        self.mlp = nn.Sequential(nn.LayerNorm(audio_width, elementwise_affine=False), *layers[:-1])
        self.query = nn.Parameter(torch.randn(latents, output_width))
        self.attention = nn.MultiheadAttention(output_width, heads, batch_first=True)
        self.register_buffer("mean", torch.zeros(latents, output_width))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, audio: Tensor) -> Tensor:
        """``[B, S, D]`` to ``[B, L, O]``."""
        tokens = self.mlp(audio)
        query = self.query.expand(len(audio), -1, -1)
        return self.mean + self.scale * self.attention(query, tokens, tokens, need_weights=False)[0]


def mlp_first(shape: AdapterShape, config: AdapterConfig, targets: Conditioning | None = None) -> Adapter:
    """An adapter whose branches are :class:`MLPFirst`: with the replaced system's widths at FLUX's shape, and otherwise
    with two hidden layers of the configured width."""
    hidden = REPLACED if shape == FLUX else dict.fromkeys(REPLACED, (config.hidden, config.hidden))
    adapter = Adapter(replace(shape, audio_tokens=1, audio_width=1), config)
    adapter.shape = shape
    outputs = {"clip": (1, shape.clip_width), "t5": (shape.t5_tokens, shape.t5_width)}
    for name, output in outputs.items():
        setattr(adapter, name, MLPFirst(shape.audio_width, *output, hidden[name], config.heads))
    if targets is not None:
        adapter.fit_targets(targets)
    return adapter


ORDERS = {"attention first (ours)": Adapter, "MLP first (replaced system)": mlp_first}


class StepCost(NamedTuple):
    """Of one training step: seconds, peak memory above what is allocated before it (GB), parameters (millions)."""

    seconds: float
    memory: float
    parameters: float


def step_cost(order: str, config: AdapterConfig, batch: int, steps: int, shape: AdapterShape = FLUX) -> StepCost:
    """Median cost of a training step of both branches with ``batch`` clips, of ``steps`` after one that warms up.

    ``order`` is a key of ``ORDERS``. Memory is that of the whole process.
    """
    torch.manual_seed(0)
    adapter = ORDERS[order](shape, config)
    audio = torch.randn(batch, shape.audio_tokens, shape.audio_width)
    wanted = Conditioning(torch.randn(batch, shape.clip_width), torch.randn(batch, shape.t5_tokens, shape.t5_width))
    optimizer = torch.optim.AdamW(adapter.parameters())
    before = peak_bytes()
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        outputs = adapter(audio)
        loss = sum((output - target).square().mean() for output, target in zip(outputs, wanted, strict=True))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    parameters = sum(p.numel() for p in adapter.parameters()) / 1e6
    return StepCost(statistics.median(seconds[1:]), (peak_bytes() - before) / 1e9, parameters)


def accuracy(order: str, root: Path, seeds_: Sequence[int], epochs: int = 50) -> list[dict[str, float]]:
    """Accuracy of centralised training on ESC-10 (folds 1-3 → 4) by branch, once per seed, at tiny size.

    ``order`` is a key of ``ORDERS``, ``root`` a data set in ESC-50's layout with ESC-10's classes.
    """
    config = compose(["experiment=esc10_1n", f"data.root={root}"])
    (x, labels), (unseen, truth) = embedded(config, "train"), embedded(config, "test")
    targets = text_targets(config.classes, config.renderer, Path(config.paths.cache).expanduser(), "cpu")
    shape = AdapterShape(x.shape[1], x.shape[2], targets.clip.shape[1], *targets.t5.shape[1:])
    results = []
    for seed in seeds_:
        with seeds.reproducible(seed, "bench adapter", threads=config.threads):
            adapter = ORDERS[order](shape, config.adapter, targets)
            train_adapter(adapter, x, labels, targets, config.adapter, epochs)
        predicted = metrics.classify(adapt(adapter, unseen), targets)
        results.append({branch: (classes == truth).float().mean().item() for branch, classes in predicted.items()})
    return results


def table(root: Path | None, config: AdapterConfig, batch: int = 8, steps: int = 3, seeds_: int = 5) -> str:
    """Cost at FLUX.1's shapes, and accuracy on ESC-10 (if its folder is given), in Markdown."""
    rows = []
    for order in ORDERS:
        one = apart(step_cost, order, config, batch, steps)
        results = accuracy(order, root, range(seeds_)) if root else []
        accuracies = [mean_and_deviation([result[branch] for result in results]) for branch in BRANCHES]
        rows.append([order, f"{one.parameters:.1f} M", f"{one.seconds:.2f} s", f"{one.memory:.2f} GB", *accuracies])
    return markdown(["order", "parameters", "training step", "memory", "CLIP branch", "T5 branch"], rows)
