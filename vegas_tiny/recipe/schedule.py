"""Training with a budget: a training ends after a number of minutes (or steps), with its learning rate at zero."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn


@dataclass(frozen=True)
class Budget:
    """How long one training may take; `steps`, if given, replaces `minutes`."""

    minutes: float
    steps: int | None = None


def progress(budget: Budget) -> Iterator[tuple[int, float]]:
    """Yield (step, done) until the budget is spent; `done` goes from 0 to 1."""
    start, step = time.monotonic(), 0
    while True:
        done = step / budget.steps if budget.steps else (time.monotonic() - start) / (60 * budget.minutes)
        if done >= 1:
            return
        yield step, done
        step += 1


def cosine(done: float, step: int, warmup: int = 100) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to zero."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * done))


class Average:
    """Exponential moving average of a model's weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model's weights, faster in the first steps."""
        self.steps += 1
        rate = 1 - min(self.decay, self.steps / (self.steps + 10))
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                self.weights[key].lerp_(value, rate)
            else:
                self.weights[key].copy_(value)


def train_averaged(
    model: nn.Module,
    budget: Budget,
    checkpoint: Path,
    update: Callable[[int, float], dict[str, float]],
    resume: bool = False,
) -> None:
    """Train `model` in place; its weights are then the average over the training, also kept in `checkpoint`.

    Parameters
    ----------
    model : nn.Module
    budget : Budget
    checkpoint : Path
        Written every 100 steps; its stem is the name of the training in the log.
    update : callable
        Makes one update of the weights, given (step, done) of `progress`; returns the losses to log.
    resume : bool
        Start from the averaged weights in `checkpoint`.
    """
    if resume:
        model.load_state_dict(torch.load(checkpoint, weights_only=True))
    average = Average(model, 0.998)
    for step, done in progress(budget):
        losses = update(step, done)
        average.update(model)
        if step % 100 == 0:
            print(checkpoint.stem, step, f"{done:.3f}", *(f"{k} {v:.4f}" for k, v in losses.items()), flush=True)
            save_state(average.weights, checkpoint)
    model.load_state_dict(average.weights)
    save_state(average.weights, checkpoint)


def save_state(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Write a checkpoint atomically: if the process is killed, the old one remains."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    torch.save(weights, partial)
    partial.replace(path)
