"""A node: who it is, what the server asked for, and its own recordings."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context

from vegas_fl.adapters import Conditioning
from vegas_fl.checkpoints import Spaces
from vegas_fl.clips import Clip
from vegas_fl.config import Config, DataConfig, NodeConfig
from vegas_fl.datasets import open_dataset
from vegas_fl.devices import resolve_device
from vegas_fl.embeddings import embed
from vegas_fl.errors import VegasError
from vegas_fl.splits import Split, node_clips
from vegas_fl.tensorfiles import State

OWN_SETTINGS = {
    "device": ("device",),
    "output-dir": ("images_output_dir",),
    "generators-dir": ("generator", "checkpoint_dir"),
    "cache-dir": ("paths", "cache"),
}
"""Keys of ``--node-config`` that win over what the server sends, and the keys they replace; beside ``data-root``."""


@dataclass(frozen=True)
class Node:
    """One request to one node."""

    id: str
    config: Config
    values: dict[str, Any]
    states: dict[str, State]

    @classmethod
    def of(cls, context: Context, values: dict[str, Any], states: dict[str, State]) -> Node:
        """The node a message reached, with its own settings put over the server's."""
        settings = dict(values["config"])
        for key, path in OWN_SETTINGS.items():
            if key in context.node_config:
                settings = _replaced(settings, path, context.node_config[key])
        node = str(context.node_config.get("partition-id", "missing"))
        config = Config.model_validate_json(json.dumps(settings))
        if node not in config.nodes:
            raise VegasError(
                f"partition-id is {node}, but the configuration has the nodes {', '.join(config.nodes)}; "
                "start the SuperNode with --node-config 'partition-id=…'"
            )
        if "data-root" in context.node_config:
            config = config.with_root(node, str(context.node_config["data-root"]))
        return cls(node, config, values, states)

    @property
    def entry(self) -> NodeConfig:
        """What the configuration says of this node."""
        return self.config.nodes[self.id]

    @functools.cached_property
    def device(self) -> str:
        """Where its networks run."""
        return resolve_device(self.config.device)

    @property
    def data(self) -> DataConfig:
        """Where its recordings come from."""
        return self.config.data_of(self.id)

    @functools.cached_property
    def clips(self) -> Split:
        """Its recordings, split."""
        return node_clips(self.data, self.config.peers(self.id), self.id, open_dataset(self.data))

    @property
    def spaces(self) -> Spaces:
        """The spaces of the run, told by the server."""
        return Spaces(**self.values["spaces"])

    @property
    def targets(self) -> Conditioning:
        """The text targets of all classes of the federation, told by the server."""
        return Conditioning(**self.states["targets"])

    def embeddings(self, clips: Mapping[str, list[Clip]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Audio embeddings ``[N, S, D]`` of clips by class, and their class indices ``[N]``."""
        everything = [clip for label in clips for clip in clips[label]]
        labels = [self.config.classes.index(label) for label in clips for _ in clips[label]]
        audio = embed(
            everything,
            self.config.encoder,
            cache_dir=Path(self.config.paths.cache).expanduser() / "embeddings",
            max_seconds=self.data.max_seconds,
            device=self.device,
            progress=True,
        )
        return audio, torch.tensor(labels, dtype=torch.long)


def _replaced(values: dict[str, Any], path: tuple[str, ...], new: Any) -> dict[str, Any]:
    """A copy of nested ``values`` with the entry at ``path`` replaced."""
    head, *rest = path
    return {**values, head: _replaced(values[head], tuple(rest), new) if rest else new}
