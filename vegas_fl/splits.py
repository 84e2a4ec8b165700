"""Who owns which clips, and what each is for: training, validation, test.

Everything is drawn from ``data.split_seed`` and the class, so that every node computes its own part without
asking the others: a class's clips are shuffled, dealt out to its owners (disjoint, complete), and each
owner's share is split, class by class. With folds, they are dealt within each fold, and folds decide the rest.
Shares are even, drawn from a Dirichlet distribution (Hsu et al. 2019, "Measuring the effects of non-identical
data distribution for federated visual classification"), or even among few of the nodes ("pathological", McMahan et
al. 2017).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vegas_fl.clips import Clip
from vegas_fl.config import DataConfig
from vegas_fl.datasets import Dataset, open_dataset
from vegas_fl.errors import VegasError
from vegas_fl.seeds import derive_seed

PARTS = ("train", "val", "test")
DRAWS = 1000
"""How often Dirichlet shares are drawn before giving up."""

Parts = dict[str, list[Clip]]


class NodeEntry(Protocol):
    """What a split needs to know of a node (:class:`vegas_fl.config.NodeConfig`)."""

    @property
    def selected_classes(self) -> tuple[str, ...]: ...

    @property
    def samples_per_node(self) -> int: ...


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
        What :func:`check` finds for this node.
    """
    if mistakes := [*settings_mistakes(config), *_contents(config, nodes, [node_id], dataset)]:
        raise VegasError("\n".join(mistakes))
    node = nodes[node_id]
    shares = _shares(config, nodes, dataset)
    parts = {
        label: _parts(config, label, _share(config, nodes, node_id, dataset.clips(label), shares[label], label))
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


def check(config: DataConfig, nodes: Mapping[str, NodeEntry], ids: Sequence[str] | None = None) -> list[str]:
    """Everything that is wrong with the data settings and with who owns what, as sentences. Reads no audio.

    Parameters
    ----------
    config : DataConfig
    nodes : mapping
        All nodes that read this data set.
    ids : sequence of str, optional
        Those to check; default: all.
    """
    mistakes = list(settings_mistakes(config))
    try:
        dataset = open_dataset(config)
    except VegasError as error:
        return [*mistakes, str(error)]
    mistakes += dict.fromkeys(_contents(config, nodes, list(nodes) if ids is None else ids, dataset))
    if not mistakes:
        try:
            _shares(config, nodes, dataset)
        except VegasError as error:
            mistakes.append(str(error))
    return mistakes


def settings_mistakes(config: DataConfig) -> Iterator[str]:
    """Mistakes that show without the data."""
    ratios = (config.train_ratio, config.val_ratio, config.test_ratio)
    if abs(sum(ratios) - 1) > 1e-6:
        shown = " + ".join(f"{ratio:g}" for ratio in ratios)
        yield f"data.train_ratio + data.val_ratio + data.test_ratio is {shown} = {sum(ratios):g}; make it 1"
    if config.train_ratio == 0:
        yield "data.train_ratio is 0: nothing would be trained on; make it larger"
    folds = _folds(config)
    if not _by_folds(config):
        if config.val_folds:
            yield "data.val_folds is set, but data.train_folds and data.test_folds are not; set all or none"
        return
    for part in ("train", "test"):
        if not folds[part]:
            other = "test" if part == "train" else "train"
            yield f"data.{other}_folds is set, but data.{part}_folds is empty; set both, or neither to split by ratio"
    for position, part in enumerate(PARTS):
        for later in PARTS[position + 1 :]:
            if both := sorted(set(folds[part]) & set(folds[later])):
                yield f"fold {', '.join(map(str, both))} is in data.{part}_folds and in data.{later}_folds; use it once"


def _contents(
    config: DataConfig, nodes: Mapping[str, NodeEntry], ids: Sequence[str], dataset: Dataset
) -> Iterator[str]:
    """Mistakes that show when the lists of clips are compared with what the nodes ``ids`` want."""
    folds_told = False
    for node_id in ids:
        node = nodes[node_id]
        if node.samples_per_node < len(node.selected_classes):
            yield (
                f"nodes.{node_id}.samples_per_node={node.samples_per_node} is less than its "
                f"{len(node.selected_classes)} classes; give it at least one clip a class"
            )
        for label in node.selected_classes:
            try:
                clips = dataset.clips(label)
            except VegasError as error:
                yield str(error)
                continue
            if not clips:
                yield _unknown_class(node_id, label, dataset.classes)
                continue
            if _by_folds(config):
                if not folds_told and (mistake := _unknown_folds(config, dataset)):
                    yield mistake
                folds_told = True
            owners = _owners(nodes, label)
            training = _training(config, clips)
            if not training:
                yield f"class {label} has no clip in data.train_folds={list(_folds(config)['train'])}; choose others"
            elif config.partition == "even" and owners.index(node_id) >= len(training):
                yield (
                    f"class {label} has {len(training)} clips to train on for {len(owners)} nodes "
                    f"({', '.join(owners)}), none is left for node {node_id}; let fewer nodes select it"
                )


def _unknown_class(node_id: str, label: str, classes: Sequence[str]) -> str:
    close = difflib.get_close_matches(label, classes, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return (
        f"nodes.{node_id}.selected_classes: there is no clip of class '{label}'{hint}; "
        f"classes with clips: {', '.join(classes)}"
    )


def _unknown_folds(config: DataConfig, dataset: Dataset) -> str | None:
    there = sorted(
        {clip.fold for label in dataset.classes for clip in _listed(dataset, label) if clip.fold is not None}
    )
    asked = {fold for folds in _folds(config).values() for fold in folds}
    if not there:
        return f"data={config.name} has no folds; set data.train_folds, val_folds and test_folds to null"
    if unknown := sorted(asked - set(there)):
        return (
            f"fold {', '.join(map(str, unknown))} does not exist in the data, which has the folds "
            f"{', '.join(map(str, there))}; change data.train_folds, val_folds or test_folds"
        )
    return None


def _listed(dataset: Dataset, label: str) -> list[Clip]:
    """The clips of a class; none if files of it are missing, which is told where the class is wanted."""
    try:
        return dataset.clips(label)
    except VegasError:
        return []


def _folds(config: DataConfig) -> dict[str, tuple[int, ...]]:
    return {"train": config.train_folds or (), "val": config.val_folds or (), "test": config.test_folds or ()}


def _by_folds(config: DataConfig) -> bool:
    return bool(config.train_folds or config.test_folds)


def _owners(nodes: Mapping[str, NodeEntry], label: str) -> list[str]:
    return sorted((node for node, entry in nodes.items() if label in entry.selected_classes), key=int)


def _training(config: DataConfig, clips: Sequence[Clip]) -> list[Clip]:
    """The clips that may be trained on: those of the training folds, or all."""
    return [clip for clip in clips if not _by_folds(config) or clip.fold in _folds(config)["train"]]


def _shares(config: DataConfig, nodes: Mapping[str, NodeEntry], dataset: Dataset) -> dict[str, np.ndarray | None]:
    """How much of each class its owners get: None for even shares, else fractions in the order of the owners.

    Dirichlet shares are drawn again, for all classes, until no node is left without a clip to train on.

    Raises
    ------
    VegasError
        That does not happen.
    """
    labels = sorted({label for node in nodes.values() for label in node.selected_classes})
    if config.partition == "even":
        return dict.fromkeys(labels)
    if config.partition == "pathological":
        return _few_classes(config, nodes, labels)
    sizes = {label: len(_training(config, dataset.clips(label))) for label in labels}
    for attempt in range(DRAWS):
        random = np.random.default_rng(derive_seed(config.split_seed, "dirichlet", config.dirichlet_alpha, attempt))
        held = dict.fromkeys(nodes, 0)
        shares: dict[str, np.ndarray | None] = {}
        for label in labels:
            owners = _owners(nodes, label)
            shares[label] = share = random.dirichlet([config.dirichlet_alpha] * len(owners))
            for owner, count in zip(owners, np.diff(_bounds(share, sizes[label])), strict=True):
                held[owner] += count
        if min(held.values()) > 0:
            return shares
    raise VegasError(
        f"data.partition=dirichlet: with data.dirichlet_alpha={config.dirichlet_alpha:g}, {sum(sizes.values())} clips "
        f"left one of {len(nodes)} nodes without any in {DRAWS} draws; use fewer nodes, or a larger alpha"
    )


def _few_classes(
    config: DataConfig, nodes: Mapping[str, NodeEntry], labels: Sequence[str]
) -> dict[str, np.ndarray | None]:
    """Even shares for the nodes that a class is given to, nothing for the others that select it.

    Raises
    ------
    VegasError
        A class would be given to nobody.
    """
    random = np.random.default_rng(derive_seed(config.split_seed, "pathological", config.classes_per_node))
    given: dict[str, list[str]] = {label: [] for label in labels}
    for node in (sorted(nodes, key=int)[i] for i in random.permutation(len(nodes))):
        wanted = [
            sorted(nodes[node].selected_classes)[i] for i in random.permutation(len(nodes[node].selected_classes))
        ]
        for label in sorted(wanted, key=lambda label: len(given[label]))[: config.classes_per_node]:
            given[label].append(node)
    if orphans := [label for label in labels if not given[label]]:
        raise VegasError(
            f"data.partition=pathological: {len(nodes)} nodes of data.classes_per_node={config.classes_per_node} leave "
            f"{', '.join(orphans)} to nobody; give them more classes, or use more nodes"
        )
    return {label: np.array([float(n in given[label]) for n in _owners(nodes, label)]) for label in labels}


def _bounds(share: np.ndarray, count: int) -> np.ndarray:
    """Where to cut ``count`` clips into the owners' shares: 0, …, count."""
    return np.round(np.concatenate([[0], np.cumsum(share)]) / share.sum() * count).astype(int)


def _share(
    config: DataConfig,
    nodes: Mapping[str, NodeEntry],
    node_id: str,
    clips: Sequence[Clip],
    share: np.ndarray | None,
    label: str,
) -> list[Clip]:
    """The node's share of a class, shuffled; with folds, its share of every fold (or of every part, see below)."""
    owners = _owners(nodes, label)
    position, by_fold = owners.index(node_id), _by_folds(config)
    folds = sorted({clip.fold for clip in clips if clip.fold is not None})
    # Small shares of small folds would all be rounded to nothing: folds of one part are cut as one.
    together = [_folds(config)[part] for part in PARTS] if share is not None else [(fold,) for fold in folds]
    dealt = []
    for group in together if by_fold else [None]:
        members = [clip for clip in clips if group is None or clip.fold in group]
        name = group[0] if group and share is None else group
        order = np.random.default_rng(derive_seed(config.split_seed, "split", label, name)).permutation(len(members))
        if share is None:
            mine = order[position :: len(owners)]
        else:
            mine = order[slice(*_bounds(share, len(members))[position : position + 2])]
        dealt += [members[i] for i in mine]
    return dealt


def _parts(config: DataConfig, label: str, share: Sequence[Clip]) -> dict[str, list[Clip]]:
    """A share divided into training, validation and test clips."""
    folds = _folds(config)
    if _by_folds(config):
        parts = {part: [clip for clip in share if clip.fold in folds[part]] for part in PARTS}
        # A cap takes the first ones: mix the folds.
        order = np.random.default_rng(derive_seed(config.split_seed, "mix", label)).permutation(len(parts["train"]))
        parts["train"] = [parts["train"][i] for i in order]
        if config.val_folds is None:
            held = _held_out(len(parts["train"]), config.val_ratio)
            parts["val"], parts["train"] = parts["train"][:held], parts["train"][held:]
        return parts
    test = _held_out(len(share), config.test_ratio)
    val = _held_out(len(share) - test, config.val_ratio / (1 - config.test_ratio))
    return {
        "test": list(share[:test]),
        "val": list(share[test : test + val]),
        "train": list(share[test + val :]),
    }


def _held_out(clips: int, ratio: float) -> int:
    """How many of ``clips`` to hold out: the nearest number, at least one if asked for any, never all."""
    return min(max(math.floor(clips * ratio + 0.5), int(ratio > 0)), clips - 1) if clips else 0


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
    folds = _folds(config)
    wanted = {
        "val": bool(folds["val"]) if _by_folds(config) and config.val_folds is not None else config.val_ratio > 0,
        "test": bool(folds["test"]) if _by_folds(config) else config.test_ratio > 0,
    }
    for part, meaning in (("val", "validation"), ("test", "test")):
        if wanted[part] and not parts[part]:
            total = sum(map(len, parts.values()))
            yield f"node {node_id}: class {label} has too few clips ({total}) for a {meaning} part"
