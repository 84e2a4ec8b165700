"""Who owns which clips, and what each is for: training, validation, test.

Everything is drawn from ``data.split_seed`` and the class, so that every node computes its own part without
asking the others: a class's clips are shuffled, dealt out to its owners (disjoint, complete), and each
owner's share is split, class by class. Clips cut from one recording stay together. With folds, they are dealt within
each fold, and folds decide the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vegas_fl.audio.clips import Clip
from vegas_fl.config import PARTS, DataConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.core.seeds import derive_seed
from vegas_fl.data.checks import contents, settings_mistakes
from vegas_fl.data.datasets import Dataset
from vegas_fl.data.shares import (
    NodeEntry,
    bounds,
    grouped,
    owners,
    shares,
    units,
)

Parts = dict[str, list[Clip]]


@dataclass(frozen=True)
class Split:
    """A node's clips by class, and ``notes``: sentences its owner would want to read."""

    train: Parts
    val: Parts
    test: Parts
    notes: list[str]

    def manifest(self) -> dict[str, dict[str, list[str]]]:
        """The ids of its clips by part and class, sorted: the same for the same clips."""
        return {
            part: {label: sorted(clip.id for clip in clips) for label, clips in getattr(self, part).items()}
            for part in PARTS
        }


def split_evenly(total: int, classes: Sequence[str]) -> dict[str, int]:
    """Share ``total`` among ``classes``; what remains goes to the first ones: 5 of a, b, c are 2, 2, 1."""
    each, rest = divmod(total, len(classes))
    return {name: each + (position < rest) for position, name in enumerate(classes)}


def node_clips(config: DataConfig, nodes: Mapping[str, NodeEntry], node_id: str, dataset: Dataset) -> Split:
    """The clips of one node.

    ``samples_per_node`` caps what it trains on (several classes share it evenly); validation and test clips
    are never capped.

    Raises
    ------
    VegasError
        What :func:`vegas_fl.data.checks.check` finds for this node.
    """
    if mistakes := [*settings_mistakes(config), *contents(config, nodes, [node_id], dataset)]:
        raise VegasError("\n".join(mistakes))
    node = nodes[node_id]
    sharing = {node_id: node} if config.partition == "none" else nodes
    dealt = shares(config, sharing, dataset)
    parts = {
        label: _parts(config, label, _share(config, sharing, node_id, dataset.clips(label), dealt[label], label))
        for label in node.selected_classes
    }
    owned = [label for label in parts if parts[label]["train"]]  # all of them, if shares are even
    caps = split_evenly(node.samples_per_node, owned)
    split = Split({}, {}, {}, [])
    for label in node.selected_classes:
        split.val[label], split.test[label] = parts[label]["val"], parts[label]["test"]
        if label in owned:
            split.train[label] = parts[label]["train"][: caps[label]]
            split.notes.extend(_notes(config, node_id, node, label, parts[label], caps[label]))
    return split


def _share(
    config: DataConfig,
    nodes: Mapping[str, NodeEntry],
    node_id: str,
    clips: Sequence[Clip],
    share: np.ndarray | None,
    label: str,
) -> list[Clip]:
    """The node's share of a class, shuffled; with folds, its share of every fold (or of every part, see below)."""
    sharing = owners(nodes, label)
    position = sharing.index(node_id)
    # Small shares of small folds would all be rounded to nothing: folds of one part are cut as one.
    folds = [tuple(sorted(config.folds[part])) for part in PARTS]
    groups = folds if share is not None else [(fold,) for part in folds for fold in part]
    dealt: list[Clip] = []
    turn = 0  # goes on from fold to fold: else the first owners would get what remains of each, and the last ones none
    for group in groups if config.by_folds else [None]:
        members = units(config, [clip for clip in clips if group is None or clip.fold in group])
        name = group[0] if group and share is None else group
        order = np.random.default_rng(derive_seed(config.split_seed, "split", label, name)).permutation(len(members))
        if share is None:
            mine = order[(position - turn) % len(sharing) :: len(sharing)]
            turn += len(members)
        else:
            mine = order[slice(*bounds(share, len(members))[position : position + 2])]
        dealt += [clip for i in mine for clip in members[i]]
    return dealt


def _parts(config: DataConfig, label: str, share: Sequence[Clip]) -> dict[str, list[Clip]]:
    """A share divided into training, validation and test clips."""
    if config.by_folds:
        parts = {part: [clip for clip in share if clip.fold in config.folds[part]] for part in PARTS}
        # A cap takes the first ones: mix the folds.
        order = np.random.default_rng(derive_seed(config.split_seed, "mix", label)).permutation(len(parts["train"]))
        parts["train"] = [parts["train"][i] for i in order]
        if config.val_folds is None:
            parts["val"], parts["train"] = _held_out(parts["train"], config.val_ratio)
        return parts
    test, rest = _held_out(share, config.test_ratio)
    val, train = _held_out(rest, config.val_ratio / (1 - config.test_ratio))
    return {"test": test, "val": val, "train": train}


def _held_out(clips: Sequence[Clip], ratio: float) -> tuple[list[Clip], list[Clip]]:
    """The clips to hold out, and the rest: of all recordings they were cut from, the first that bring their number
    nearest to ``ratio``; at least one recording if asked for any, never all."""
    groups = grouped(clips)
    wanted = math.floor(len(clips) * ratio + 0.5)
    held: list[Clip] = []
    kept = len(groups)
    for group in groups:
        if kept > 1 and len(held) + len(group) / 2 < wanted:
            held += group
            kept -= 1
    if not held and ratio > 0 and len(groups) > 1:
        held = min(groups, key=len)
    out = set(map(id, held))
    return held, [clip for clip in clips if id(clip) not in out]


def _notes(
    config: DataConfig, node_id: str, node: NodeEntry, label: str, parts: Mapping[str, list[Clip]], cap: int
) -> Iterator[str]:
    training = len(parts["train"])
    if training < cap:
        of = f" ({cap} of them of this class)" if len(node.selected_classes) > 1 else ""
        yield (
            f"node {node_id}: class {label} has {training} training clip{'s' * (training != 1)}, "
            f"samples_per_node asks for {node.samples_per_node}{of}: all {training} are used"
        )
    folds = config.folds
    wanted = {
        "val": bool(folds["val"]) if config.by_folds and config.val_folds is not None else config.val_ratio > 0,
        "test": bool(folds["test"]) if config.by_folds else config.test_ratio > 0,
    }
    for held, meaning in (("val", "validation"), ("test", "test")):
        if wanted[held] and not parts[held]:
            clips = [clip for part in parts.values() for clip in part]
            recorded = len(grouped(clips))
            of = f", cut from {recorded} recording{'s' * (recorded != 1)}" if recorded < len(clips) else ""
            yield f"node {node_id}: class {label} has too few clips ({len(clips)}{of}) for a {meaning} part"
