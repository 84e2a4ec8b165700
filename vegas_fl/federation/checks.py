"""What is wrong with a reply that can be read: figures that cannot be true, weights out of all proportion.

Whatever a check reads may be missing or of another kind than it should be: what a check raises is told as its reason.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch

from vegas_fl.algorithm.fidelity import MEASURED
from vegas_fl.config import BRANCHES, PARTS, Config, NodeConfig
from vegas_fl.storage.tensorfiles import State, norm

LONGEST = 2000
"""Letters of a reason that are told: a node may send any number."""


def odd_description(values: Mapping[str, Any], config: Config) -> str | None:
    """Why a node cannot be what it says it is, or None if it can."""
    node = values.get("node")
    if not isinstance(node, str) or node not in config.nodes:
        return f"it says it is node {node!r}; the configuration has the nodes {', '.join(config.nodes)}"
    if not _texts(values.get("notes")):
        return f"the notes of node {node} are no texts"
    if not config.needs_recordings:
        return None
    classes = config.nodes[node].selected_classes
    for part in PARTS:
        counts = values.get(part)
        if not isinstance(counts, dict) or not all(_count(n) and label in classes for label, n in counts.items()):
            return f"node {node} says that its clips to {part} with are {counts!r}"
    audio = values.get("audio")
    if not isinstance(audio, dict) or [type(audio.get(key)) for key in ("tokens", "width", "fingerprint")] != [
        int,
        int,
        str,
    ]:
        return f"node {node} says that its audio embeddings are {audio!r}"
    return None if isinstance(values.get("manifest"), dict) else f"node {node} does not say which clips it has"


def odd_counts(values: Mapping[str, Any], described: Mapping[str, Any], entry: NodeConfig) -> str | None:
    """Why what a node says of its training cannot be used, or None if it can.

    ``samples`` (clips by class) weigh its answer: they must be of its own classes, and no more than the node had
    when the run began, or than it is to train on.
    """
    samples, training = values.get("samples"), values.get("metrics")
    if not isinstance(samples, dict) or not samples or not isinstance(training, dict):
        return "it does not say what it trained on"
    if strange := sorted(set(samples) - set(entry.selected_classes)):
        return f"it answered for classes it does not own: {', '.join(strange)}"
    held = described.get("train", {})
    for label, count in samples.items():
        most = min(held.get(label, entry.training_clips), entry.training_clips)
        if type(count) is not int or not 0 < count <= most:
            return f"it claims {count!r} clips of {label}, of which it has {most}"
    return None


def odd_training(figures: object) -> str | None:
    """Why the figures of a training cannot be used. NaN may be one: without an epoch there is no loss."""
    if isinstance(figures, dict) and all(type(value) in (int, float) for value in figures.values()):
        return None
    return f"its figures of the training are odd: {figures!r}"


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


def odd_evaluation(figures: Mapping[str, Any], candidates: Mapping[str, int], held: Mapping[int, int]) -> str | None:
    """Why an evaluation cannot be used.

    Parameters
    ----------
    figures : mapping
        Adapter → branch → confusion matrix and sums.
    candidates : mapping
        Adapter → how many of its name there may be, whose counts are added up.
    held : mapping
        Index of each class → clips the node has of it.
    """
    for name, branches in figures.items():
        if name not in candidates or sorted(branches) != sorted(BRANCHES):
            return f"it judged {name} ({', '.join(branches)}); the adapters are {', '.join(candidates)}"
        for sums in branches.values():
            rows = sums["confusion"]
            if sorted(sums) != ["confusion", "cosine", "mse"] or not _confusion(rows, len(held)):
                return f"its figures of the adapter {name} are odd: {sums}"
            if any(sum(row) > candidates[name] * held[index] for index, row in enumerate(rows)):
                return f"it judged {name} on {[sum(row) for row in rows]} clips, of which it has {list(held.values())}"
            if not _finite(sums["cosine"]) or not _finite(sums["mse"]) or not any(map(sum, rows)):
                return f"its figures of the adapter {name} are odd: {sums}"
    return None


def odd_quality(
    values: Mapping[str, Any], described: Mapping[str, Any], part: str, asked: Collection[str]
) -> str | None:
    """Why figures of the generators of the classes ``asked`` for cannot be used; ``part`` is what they were compared
    with."""
    names = sorted([*MEASURED, *(f"{name}_ceiling" for name in MEASURED)])
    for label, figures in values["figures"].items():
        if label not in asked:
            return f"it has figures of the generator of {label}, which it was not asked for"
        numbers = [number for number in figures.values() if number is not None]
        if sorted(figures) != names or not all(map(_finite, numbers)):
            return f"its figures of the generator of {label} are odd: {figures}"
        held, most = values["held_out"][label], described.get(part, {}).get(label, math.inf)
        if type(held) is not int or not 0 < held <= most or not _count(values["samples"][label]):
            return f"it claims {held!r} held-out clips of {label}, of which it has {most}"
    return None


def odd_pictures(values: Mapping[str, Any], states: Mapping[str, State], most: int, classes: int) -> str | None:
    """Why an answer about at most ``most`` pictures, judged among ``classes``, cannot be used."""
    pictures, rendered, missing = counts = [values[key] for key in ("pictures", "rendered", "missing")]
    if not all(map(_count, counts)) or not max(rendered, missing) <= pictures <= most:
        return f"its counts of pictures are odd: {counts}"
    if missing and not rendered:
        return f"it draws nothing, and {missing} pictures are missing"
    if not isinstance(values["folder"], str) or not _texts(values["notes"]) or not _finite(values["seconds"]):
        return "it does not say where its pictures are"
    judged = values["judged"]
    if judged is not None and not (
        _confusion(judged["confusion"], classes)
        and 0 < sum(map(sum, judged["confusion"])) <= pictures
        and _finite(judged["clip_score"])
    ):
        return f"its judgement of the pictures is odd: {judged}"
    for features in (tensor for state in states.values() for tensor in state.values()):
        if features.ndim != 2 or len(features) > pictures or not bool(torch.isfinite(features).all()):
            return f"the features of its pictures are odd: {list(features.shape)}"
    return None


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _count(value: object) -> bool:
    return type(value) is int and value >= 0


def _finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _confusion(rows: object, classes: int) -> bool:
    square = isinstance(rows, list) and [len(row) for row in rows] == [classes] * classes
    return square and all(_count(count) for row in rows for count in row)  # type: ignore[attr-defined]
