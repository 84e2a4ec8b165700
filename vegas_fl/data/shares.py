"""How much of a class each of its owners gets, drawn from ``data.split_seed``.

Shares are even, drawn from a Dirichlet distribution (Hsu et al. 2019, "Measuring the effects of non-identical
data distribution for federated visual classification"), or even among few of the nodes ("pathological", McMahan et
al. 2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vegas_fl.audio.clips import Clip
from vegas_fl.config import DataConfig, NodeConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.core.seeds import derive_seed
from vegas_fl.data.datasets import Dataset

DRAWS = 1000
"""How often Dirichlet shares are drawn before giving up."""


@dataclass(frozen=True)
class Share:
    """What one of a class's owners gets of it.

    Attributes
    ----------
    position, owners : int
        Its place among the owners, and their number.
    fractions : array [owners] or None
        How much each owner gets; None: all get the same number.
    """

    position: int
    owners: int
    fractions: np.ndarray | None

    def of(self, order: np.ndarray, skipped: int) -> np.ndarray:
        """This owner's part of ``order``. Even shares are dealt in turns, which go on after the ``skipped`` units that
        were dealt before: otherwise the first owners would get every remainder."""
        if self.fractions is None:
            return order[(self.position - skipped) % self.owners :: self.owners]
        return order[slice(*bounds(self.fractions, len(order))[self.position : self.position + 2])]


def owners(nodes: Mapping[str, NodeConfig], label: str) -> list[str]:
    """The nodes that select a class, by number."""
    return sorted((node for node, entry in nodes.items() if label in entry.selected_classes), key=int)


def training(config: DataConfig, clips: Sequence[Clip]) -> list[Clip]:
    """The clips that may be trained on: those of the training folds, or all."""
    return [clip for clip in clips if not config.by_folds or clip.fold in config.folds["train"]]


def grouped(clips: Sequence[Clip]) -> list[list[Clip]]:
    """The clips in groups that were cut from one recording, as far as that is known; in the order of their first."""
    groups: dict[object, list[Clip]] = {}
    for position, clip in enumerate(clips):
        groups.setdefault(position if clip.source is None else clip.source, []).append(clip)
    return list(groups.values())


def units(config: DataConfig, clips: Sequence[Clip]) -> list[list[Clip]]:
    """What is dealt out whole: clips of one recording, so that it is not trained on here and tested on there. With
    folds, each clip by itself: folds keep recordings apart."""
    return [[clip] for clip in clips] if config.by_folds else grouped(clips)


def shares(
    config: DataConfig, nodes: Mapping[str, NodeConfig], dataset: Dataset, keys: str = "data"
) -> dict[str, np.ndarray | None]:
    """How much of each class its owners get: None for even shares, else fractions in the order of the owners.

    Dirichlet shares are drawn again, for all classes, until no node is left without a clip to train on.

    Raises
    ------
    VegasError
        A node is left without one all the same, or a class is left to nobody.
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
                f"{', '.join(idle)} without any to train on; use fewer nodes, or more classes a node"
            )
        return dict(given)
    for attempt in range(DRAWS):
        random = np.random.default_rng(derive_seed(config.split_seed, "dirichlet", config.dirichlet_alpha, attempt))
        drawn = {label: random.dirichlet([config.dirichlet_alpha] * len(owners(nodes, label))) for label in labels}
        if min(_held(nodes, drawn, sizes).values()) > 0:
            return dict(drawn)
    raise VegasError(
        f"{keys}.partition=dirichlet: with {keys}.dirichlet_alpha={config.dirichlet_alpha:g}, {sum(sizes.values())} "
        f"clips left one of {len(nodes)} nodes without any in {DRAWS} draws; use fewer nodes, or a larger alpha"
    )


def _held(nodes: Mapping[str, NodeConfig], given: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> dict[str, int]:
    """How many units each node gets to train on, of all its classes together."""
    held = dict.fromkeys(nodes, 0)
    for label, share in given.items():
        for owner, count in zip(owners(nodes, label), np.diff(bounds(share, sizes[label])), strict=True):
            held[owner] += int(count)
    return held


def _few_classes(
    config: DataConfig, nodes: Mapping[str, NodeConfig], labels: Sequence[str], keys: str
) -> dict[str, np.ndarray]:
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
            f"{keys}.partition=pathological: {len(nodes)} nodes of {keys}.classes_per_node={config.classes_per_node} "
            f"leave {', '.join(orphans)} to nobody; give them more classes, or use more nodes"
        )
    return {label: np.array([float(n in given[label]) for n in owners(nodes, label)]) for label in labels}


def bounds(share: np.ndarray, count: int) -> np.ndarray:
    """Where to cut ``count`` units into the owners' shares: 0, …, count."""
    return np.round(np.concatenate([[0], np.cumsum(share)]) / share.sum() * count).astype(int)
