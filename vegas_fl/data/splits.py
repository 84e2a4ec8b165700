"""Which node owns which clips, and which are for training, validation and test.

Everything is drawn from ``data.split_seed`` and the class, so that every node can compute its own part: the clips
of a class are shuffled and dealt to its owners (disjoint, complete), and each owner's share is split. Clips cut from
one recording stay together. With folds, each fold is dealt by itself, among the owners that use it, and folds determine
the parts.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vegas_fl.audio.clips import Clip
from vegas_fl.config import PARTS, DataConfig, NodeConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.core.seeds import derive_seed
from vegas_fl.data.checks import contents, settings_mistakes
from vegas_fl.data.datasets import Dataset
from vegas_fl.data.shares import Share, grouped, shares, sharing, units

Parts = dict[str, list[Clip]]


@dataclass(frozen=True)
class Split:
    """A node's clips by class, and ``notes``: what its owner should know of a class, as ends of sentences."""

    train: Parts
    val: Parts
    test: Parts
    notes: dict[str, list[str]]

    def manifest(self, secret: bytes) -> dict[str, dict[str, list[str]]]:
        """The ids of its clips by part and class, sorted, so that with one secret equal splits have equal manifests."""
        return {
            part: {label: sorted(clip.id(secret) for clip in clips) for label, clips in getattr(self, part).items()}
            for part in PARTS
        }


def split_evenly(total: int, classes: Sequence[str]) -> dict[str, int]:
    """Divide ``total`` among ``classes``; the first ones get the remainder: 5 for a, b, c is 2, 2, 1."""
    each, rest = divmod(total, len(classes))
    return {name: each + (position < rest) for position, name in enumerate(classes)}


def node_clips(config: DataConfig, nodes: Mapping[str, NodeConfig], node_id: str, dataset: Dataset) -> Split:
    """The clips of one node.

    ``samples_per_node`` limits the training clips (divided evenly among its classes), not the validation and test
    clips.

    Raises
    ------
    VegasError
        What :func:`vegas_fl.data.checks.check` finds for this node.
    """
    if mistakes := [*settings_mistakes(config), *contents(config, nodes, [node_id], dataset)]:
        raise VegasError("\n".join(mistakes))
    node = nodes[node_id]
    peers = {node_id: node} if config.partition == "none" else nodes
    fractions = shares(config, peers, dataset)
    parts: dict[str, Parts] = {}
    for label in node.selected_classes:
        dealt = _dealt(config, peers, node_id, label, dataset.clips(label), fractions[label])
        parts[label] = _parts(config, label, dealt)
    owned = [label for label in parts if parts[label]["train"]]  # all of them, if shares are even
    caps = split_evenly(node.training_clips, owned)
    split = Split({}, {}, {}, {})
    for label in node.selected_classes:
        split.val[label], split.test[label] = parts[label]["val"], parts[label]["test"]
        if label in owned:
            split.train[label] = parts[label]["train"][: caps[label]]
            split.notes[label] = list(_notes(config, node, parts[label], caps[label]))
    return split


def _dealt(
    config: DataConfig,
    peers: Mapping[str, NodeConfig],
    node: str,
    label: str,
    clips: Sequence[Clip],
    fractions: np.ndarray | None,
) -> list[Clip]:
    """A node's share of a class, shuffled; with folds, its share of every fold (or of every part, see below)."""
    folds = [tuple(sorted(config.folds[part])) for part in PARTS]
    even = fractions is None
    # Small fractions of small folds would all be rounded to nothing: folds of one part are cut as one.
    groups = [(fold,) for part in folds for fold in part] if even else [part for part in folds if part]
    dealt: list[Clip] = []
    skipped: Counter[tuple[str, ...]] = Counter()
    for group in groups if config.by_folds else [None]:
        members = units(config, [clip for clip in clips if group is None or clip.fold in group])
        name = group[0] if group and even else group
        order = np.random.default_rng(derive_seed(config.split_seed, "split", label, name)).permutation(len(members))
        among = sharing(config, peers, label, group)
        share = Share(among.index(node), len(among), fractions)
        dealt += [clip for i in share.of(order, skipped[among]) for clip in members[i]]
        skipped[among] += len(members)
    return dealt


def _parts(config: DataConfig, label: str, dealt: Sequence[Clip]) -> Parts:
    """A node's clips of a class, divided into training, validation and test clips."""
    if config.by_folds:
        parts = {part: [clip for clip in dealt if clip.fold in config.folds[part]] for part in PARTS}
        # samples_per_node keeps the first ones: mix the folds.
        order = np.random.default_rng(derive_seed(config.split_seed, "mix", label)).permutation(len(parts["train"]))
        parts["train"] = [parts["train"][i] for i in order]
        if config.val_folds is None:
            parts["val"], parts["train"] = _held_out(parts["train"], config.val_ratio)
        return parts
    test, rest = _held_out(dealt, config.test_ratio)
    val, train = _held_out(rest, config.val_ratio / (1 - config.test_ratio))
    return {"test": test, "val": val, "train": train}


def _held_out(clips: Sequence[Clip], ratio: float) -> tuple[list[Clip], list[Clip]]:
    """The clips to hold out, and the rest. Whole recordings are held out, from the first on, until their clips are
    nearest to ``ratio``: at least one recording unless ``ratio`` is 0, and never all."""
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


def _notes(config: DataConfig, node: NodeConfig, parts: Parts, cap: int) -> Iterator[str]:
    """What the owner of a node would want to know about its clips of a class."""
    training = len(parts["train"])
    if training < cap:
        of = f" ({cap} of them of this class)" if len(node.selected_classes) > 1 else ""
        yield (
            f"has {training} training clip{'s' * (training != 1)}, "
            f"samples_per_node asks for {node.training_clips}{of}: all {training} are used"
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
            yield f"has too few clips ({len(clips)}{of}) for a {meaning} part"
