"""Checks of the data settings, before any recording is read. Needs no PyTorch."""

import contextlib
import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from vegas_fl.audio.clips import Clip
from vegas_fl.config import PARTS, Config, DataConfig, NodeConfig
from vegas_fl.core.errors import VegasError, some
from vegas_fl.data.datasets import Dataset, missing_folder, open_dataset
from vegas_fl.data.shares import owners, shares, sharing, training, units


def check_recordings(config: Config, may_lack: bool = False) -> list[str]:
    """Mistakes of the data sets; with ``may_lack``, only of the settings where a data set's folder is missing."""
    found: list[str] = []
    for keys, data, nodes in data_sets(config):
        if may_lack and missing_folder(data):
            found += settings_mistakes(data, keys)
        else:
            found += check(data, config.peers(nodes[0]), nodes, keys)
    if not found and config.targets == "caption":
        found += _captions(config)
    return list(dict.fromkeys(found))


def _captions(config: Config) -> Iterator[str]:
    """Nodes whose clips have no captions."""
    for node, entry in config.nodes.items():
        data = config.data_of(node)
        if missing_folder(data):
            continue
        dataset = open_dataset(data)
        if not any(clip.caption for label in entry.selected_classes for clip in dataset.clips(label)):
            yield (
                f"targets=caption, but no clip of node {node} has a caption (data={data.name}); add captions.json to "
                "the classes' folders of VEGAS, or use targets=attributes"
            )


def data_sets(config: Config) -> Iterator[tuple[str, DataConfig, list[str]]]:
    """For each data set: where its keys stand in the configuration, its settings, and the nodes that use these."""
    groups: dict[DataConfig, list[str]] = {}
    for node in config.nodes:
        groups.setdefault(config.data_of(node), []).append(node)
    for data, nodes in groups.items():
        yield "data" if data == config.data else f"nodes.{nodes[0]}.dataset", data, nodes


def check(
    config: DataConfig, nodes: Mapping[str, NodeConfig], ids: Sequence[str] | None = None, keys: str = "data"
) -> list[str]:
    """All mistakes in the data settings and in the classes of the nodes ``ids`` (default: all), as sentences. Reads no
    audio. ``nodes`` are all that read this data set; ``keys`` is where its settings are: "data", or "nodes.N.dataset".
    """
    mistakes = list(settings_mistakes(config, keys))
    try:
        dataset = open_dataset(config, keys)
    except VegasError as error:
        return [*mistakes, str(error)]
    mistakes += dict.fromkeys(contents(config, nodes, list(nodes) if ids is None else ids, dataset, keys))
    mistakes += _overlaps(config, nodes, keys)
    if not mistakes:
        try:
            shares(config, nodes, dataset, keys)
        except VegasError as error:
            mistakes.append(str(error))
    return mistakes


def _overlaps(config: DataConfig, nodes: Mapping[str, NodeConfig], keys: str) -> Iterator[str]:
    """Nodes that would all use the same clips of a class."""
    labels = sorted({label for node in nodes.values() for label in node.selected_classes})
    for label in labels if config.partition == "none" else []:
        if len(among := owners(nodes, label)) > 1:
            yield (
                f"nodes {', '.join(among)} overlap: with {keys}.partition=none each would use all clips of {label} "
                f"in {keys}.root={config.root}; use {keys}.partition=even, or give each node a folder of its own "
                "(nodes.N.dataset.root)"
            )


def settings_mistakes(config: DataConfig, keys: str = "data") -> Iterator[str]:
    """Mistakes that can be found without the data."""
    ratios = (config.train_ratio, config.val_ratio, config.test_ratio)
    if not config.by_folds and abs(sum(ratios) - 1) > 1e-6:
        shown = " + ".join(f"{ratio:g}" for ratio in ratios)
        yield f"{keys}.train_ratio + {keys}.val_ratio + {keys}.test_ratio is {shown} = {sum(ratios):g}; make it 1"
    if not config.by_folds and config.train_ratio == 0:
        yield f"{keys}.train_ratio is 0, which leaves no training clips; make it larger"
    folds = config.folds
    if not config.by_folds:
        if config.val_folds:
            yield f"{keys}.val_folds is set, but {keys}.train_folds and {keys}.test_folds are not; set all or none"
        return
    for part in ("train", "test"):
        if not folds[part]:
            other = "test" if part == "train" else "train"
            seen = f"{keys}.{other}_folds is set, but {keys}.{part}_folds is empty"
            yield f"{seen}; set both, or neither to split by ratio"
    for position, part in enumerate(PARTS):
        for later in PARTS[position + 1 :]:
            if both := sorted(set(folds[part]) & set(folds[later])):
                shown = ", ".join(map(str, both))
                yield f"fold {shown} is in both {keys}.{part}_folds and {keys}.{later}_folds; use it once"


def contents(
    config: DataConfig, nodes: Mapping[str, NodeConfig], ids: Sequence[str], dataset: Dataset, keys: str = "data"
) -> Iterator[str]:
    """Mistakes that show when the classes of the nodes ``ids`` are compared with the data set's lists of clips."""
    if config.by_folds and (mistake := _unknown_folds(config, dataset, keys)):
        yield mistake
    selected: dict[str, list[str]] = {}
    for node_id in ids:
        for label in nodes[node_id].selected_classes:
            selected.setdefault(label, []).append(node_id)
    for label, selecting in selected.items():
        try:
            clips = dataset.clips(label)
        except VegasError as error:
            yield str(error)
            continue
        if not clips:
            for node_id in selecting:
                yield "; ".join([_unknown_class(node_id, label, dataset.classes), *dataset.passed_over(label)])
            continue
        usable = len(units(config, training(config, clips)))
        if not usable:
            folds = list(config.folds["train"])
            yield f"class {label} has no clip in {keys}.train_folds={folds}; choose other folds"
        elif config.partition == "even":
            counts: Counter[tuple[str, ...]] = Counter()
            for fold in config.folds["train"] if config.by_folds else [None]:
                among = sharing(config, nodes, label, None if fold is None else [fold])
                available = [clip for clip in training(config, clips) if fold in (None, clip.fold)]
                counts[among] += len(units(config, available))
            given = {node for among, count in counts.items() for node in among[:count]}
            if left := [node for node in selecting if node not in given]:
                among = tuple(sorted({node for group in counts for node in group}, key=int))
                yield (
                    f"class {label} has {usable} recordings to train on, too few for {len(among)} nodes "
                    f"({some(among)}): none is left for node{'s' * (len(left) > 1)} {some(left)}; select it on fewer "
                    "nodes"
                )


def _unknown_class(node_id: str, label: str, classes: Sequence[str]) -> str:
    close = difflib.get_close_matches(label, classes, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return (
        f"nodes.{node_id}.selected_classes: no clip of class '{label}' found{hint}; "
        f"classes with clips: {', '.join(classes)}"
    )


def _unknown_folds(config: DataConfig, dataset: Dataset, keys: str) -> str | None:
    clips: list[Clip] = []
    for label in dataset.classes:
        with contextlib.suppress(VegasError):  # files are missing, which is reported for nodes that select the class
            clips += dataset.clips(label)
    there = sorted({clip.fold for clip in clips if clip.fold is not None})
    asked = {fold for folds in config.folds.values() for fold in folds}
    if not clips:
        return None
    if not there:
        return f"data={config.name} has no folds; set {keys}.train_folds, val_folds and test_folds to null"
    if unknown := sorted(asked - set(there)):
        return (
            f"fold {', '.join(map(str, unknown))} does not exist; the data set has the folds "
            f"{', '.join(map(str, there))}; change {keys}.train_folds, val_folds or test_folds"
        )
    return None
