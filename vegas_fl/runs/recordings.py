"""Checks of the nodes' recordings before a run starts. Needs no PyTorch."""

from collections.abc import Iterator

from vegas_fl.config import Config, DataConfig
from vegas_fl.data import checks
from vegas_fl.data.datasets import missing_folder, open_dataset


def check_recordings(config: Config, may_lack: bool = False) -> list[str]:
    """Mistakes of the data sets; with ``may_lack``, only of the settings where a data set's folder is missing."""
    found: list[str] = []
    for keys, data, nodes in data_sets(config):
        if may_lack and missing_folder(data):
            found += checks.settings_mistakes(data, keys)
        else:
            found += checks.check(data, config.peers(nodes[0]), nodes, keys)
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
