"""Entries of nodes, and what each of them gets of the clips."""

from __future__ import annotations

from typing import Any

from vegas_fl.config import DataConfig, NodeConfig
from vegas_fl.data.datasets import open_dataset
from vegas_fl.data.splits import Split, node_clips


def entry(classes: tuple[str, ...], samples_per_node: int = 1000) -> NodeConfig:
    return NodeConfig(selected_classes=classes, samples_per_node=samples_per_node)


def nodes(*entries: NodeConfig) -> dict[str, NodeConfig]:
    return {str(index): entry for index, entry in enumerate(entries)}


def split(config: DataConfig, entries: dict[str, NodeConfig], node: str = "0") -> Split:
    return node_clips(config, entries, node, open_dataset(config))


def names(parts: dict[str, list[Any]]) -> list[str]:
    return [clip.name for clips in parts.values() for clip in clips]
