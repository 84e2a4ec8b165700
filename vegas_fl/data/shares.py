"""How much of a class each of its owners gets, drawn from ``data.split_seed``.

Shares are even, drawn from a Dirichlet distribution (Hsu et al. 2019, "Measuring the effects of non-identical
data distribution for federated visual classification"), or even among few of the nodes ("pathological", McMahan et
al. 2017).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vegas_fl.audio.clips import Clip
from vegas_fl.config import DataConfig, NodeConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.core.seeds import derive_seed
from vegas_fl.data.datasets import Dataset

DRAWS = 1000
"""Most attempts to draw Dirichlet shares."""


@dataclass(frozen=True)
class Share:
    """What one of a class's owners gets of it."""

    position: int  # its place among the owners
    owners: int  # their number
    fractions: np.ndarray | None  # [owners]: how much each gets; None: all get the same number

    def of(self, order: np.ndarray, skipped: int) -> np.ndarray:
        """This owner's part of ``order``. Even shares are dealt in turns, which go on after the ``skipped`` units that
        were dealt before: otherwise the first owners would get every remainder."""
        if self.fractions is None:
            return order[(self.position - skipped) % self.owners :: self.owners]
        return order[slice(*bounds(self.fractions, len(order))[self.position : self.position + 2])]


def owners(nodes: Mapping[str, NodeConfig], label: str) -> list[str]:
    """The nodes that select a class, in numerical order."""
    return sorted((node for node, entry in nodes.items() if label in entry.selected_classes), key=int)


def sharing(
    config: DataConfig, nodes: Mapping[str, NodeConfig], label: str, folds: Sequence[int] | None
) -> tuple[str, ...]:
    """The owners of a class that use one of ``folds``; None: all owners. Each fold is dealt among those that use it."""
    used = {node: (own.over(config) if (own := nodes[node].dataset) else config).folds for node in owners(nodes, label)}
    return tuple(node for node, own in used.items() if folds is None or {*sum(own.values(), ())} & {*folds})


def training(config: DataConfig, clips: Sequence[Clip]) -> list[Clip]:
    """The clips available for training: those of the training folds, or all."""
    return [clip for clip in clips if not config.by_folds or clip.fold in config.folds["train"]]


def grouped(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Clips in groups cut from one recording (where known), in the order of each group's first clip."""
    groups: dict[object, list[Clip]] = {}
    for position, clip in enumerate(clips):
        groups.setdefault(position if clip.source is None else clip.source, []).append(clip)
    return list(groups.values())


def units(config: DataConfig, clips: Sequence[Clip]) -> list[list[Clip]]:
    """Clips in the groups that are never divided: those cut from one recording, which must not be in both training and
    test sets. With folds, which keep recordings apart, each clip is its own group."""
    return [[clip] for clip in clips] if config.by_folds else grouped(clips)


def shares(
    config: DataConfig, nodes: Mapping[str, NodeConfig], dataset: Dataset, keys: str = "data"
) -> dict[str, np.ndarray | None]:
    """The fraction of each class that each of its owners gets, in the order of :func:`owners`; None: even shares.

    Dirichlet shares are drawn again, for all classes, until every node has a clip to train on.

    Raises
    ------
    VegasError
        A node still has none, or a class has no owner.
    """
    labels = sorted({label for node in nodes.values() for label in node.selected_classes})
    if config.partition in ("even", "none"):
        return dict.fromkeys(labels)
    sizes = {label: len(units(config, training(config, dataset.clips(label)))) for label in labels}
    if config.partition == "pathological":
        given = _few_classes(config, nodes, labels, keys)
        if idle := [node for node, count in _held(nodes, given, sizes).items() if not count]:
            raise VegasError(
                f"{keys}.partition=pathological: with {keys}.classes_per_node={config.classes_per_node}, classes of "
                f"few recordings ({', '.join(f'{label}: {sizes[label]}' for label in labels)}) leave node "
                f"{', '.join(idle)} without training clips; use fewer nodes, or more classes per node"
            )
        return dict(given)
    for attempt in range(DRAWS):
        random = np.random.default_rng(derive_seed(config.split_seed, "dirichlet", config.dirichlet_alpha, attempt))
        drawn = {label: random.dirichlet([config.dirichlet_alpha] * len(owners(nodes, label))) for label in labels}
        if min(_held(nodes, drawn, sizes).values()) > 0:
            return dict(drawn)
    raise VegasError(
        f"{keys}.partition=dirichlet: with {keys}.dirichlet_alpha={config.dirichlet_alpha:g}, {sum(sizes.values())} "
        f"clips left one of {len(nodes)} nodes without training clips in all of {DRAWS} draws; use fewer nodes, or a "
        "larger alpha"
    )


def _held(nodes: Mapping[str, NodeConfig], given: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> dict[str, int]:
    """How many units each node gets to train on, over all its classes."""
    held = dict.fromkeys(nodes, 0)
    for label, share in given.items():
        for owner, count in zip(owners(nodes, label), np.diff(bounds(share, sizes[label])), strict=True):
            held[owner] += int(count)
    return held


def _few_classes(
    config: DataConfig, nodes: Mapping[str, NodeConfig], labels: Sequence[str], keys: str
) -> dict[str, np.ndarray]:
    """Even shares for the nodes a class is assigned to, 0 for the other nodes that select it."""
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
            f"{keys}.partition=pathological: with {len(nodes)} nodes and "
            f"{keys}.classes_per_node={config.classes_per_node}, no node gets {', '.join(orphans)}; "
            "use more classes per node, or more nodes"
        )
    return {label: np.array([float(n in given[label]) for n in owners(nodes, label)]) for label in labels}


def bounds(share: np.ndarray, count: int) -> np.ndarray:
    """Positions at which ``count`` units are cut into the owners' shares: 0, …, count."""
    return np.round(np.concatenate([[0], np.cumsum(share)]) / share.sum() * count).astype(int)
