"""What is wrong with a reply that can be read: figures that cannot be true, weights out of all proportion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vegas_fl.config import NodeConfig
from vegas_fl.tensorfiles import State, norm


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
    size, usual = norm(state), norm(like)
    if size > most * usual:
        return f"the norm of its weights is {size:.3g}, more than {most:g} times {usual:.3g} (federation.max_norm)"
    return None
