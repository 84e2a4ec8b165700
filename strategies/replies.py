"""What is wrong with a reply that can be read: figures that cannot be true, weights out of all proportion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from vegas_fl.config import NodeConfig
from vegas_fl.tensorfiles import State


def odd_counts(values: Mapping[str, Any], described: Mapping[str, Any], entry: NodeConfig) -> str | None:
    """Why what a node says of its training cannot be used, or None if it can.

    ``samples`` (clips by class) weigh its answer: they must be of its own classes, and no more than the node had
    when the run began.
    """
    samples, training = values.get("samples"), values.get("metrics")
    if not isinstance(samples, dict) or not samples or not isinstance(training, dict):
        return "it does not say what it trained on"
    if strange := sorted(set(samples) - set(entry.selected_classes)):
        return f"it answered for classes it does not own: {', '.join(strange)}"
    held = described.get("train", {})
    for label, count in samples.items():
        most = held.get(label, entry.samples_per_node)
        if not isinstance(count, int) or not 0 < count <= most:
            return f"it claims {count!r} clips of {label}, of which it has {most}"
    return None


def absurd(state: State, like: State, most: float) -> str | None:
    """Why the size of weights cannot be that of an honest training, or None if it can.

    Parameters
    ----------
    state, like : dict
        The weights, and those they are compared with, of the same shapes.
    most : float
        How many times as large their Euclidean norm may be.
    """
    norm, usual = _norm(state), _norm(like)
    if norm > most * usual:
        return f"the norm of its weights is {norm:.3g}, more than {most:g} times {usual:.3g} (federation.max_norm)"
    return None


def _norm(state: State) -> float:
    return torch.nn.utils.get_total_norm([tensor for tensor in state.values() if tensor.is_floating_point()]).item()
