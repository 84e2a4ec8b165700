"""A node: who it is, what the server asked for, and its own recordings."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from flwr.app import Context
from pydantic import ValidationError

from clients.roots import Roots
from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.audio.clips import Clip
from vegas_fl.audio.embeddings import embed
from vegas_fl.config import Config, DataConfig, NodeConfig
from vegas_fl.core.devices import resolve_device
from vegas_fl.core.errors import AboutRecordings, VegasError, explained
from vegas_fl.core.files import own_secret
from vegas_fl.core.names import class_name_mistake
from vegas_fl.data.datasets import open_dataset
from vegas_fl.data.splits import Split, node_clips
from vegas_fl.federation.messages import Request
from vegas_fl.rendering.jobs import job_path
from vegas_fl.storage.tensorfiles import State

Q = TypeVar("Q", bound=Request[Any])
SECRET = "clips.secret"


@dataclass(frozen=True)
class Node:
    """One request to one node: its configuration, and the tensors that came with the request."""

    id: str
    config: Config
    states: dict[str, State]
    roots: Roots | None = None

    @classmethod
    def of(cls, context: Context, request: type[Q], values: dict[str, Any], states: dict[str, State]) -> tuple[Node, Q]:
        """The node a message reached, with its own settings put over the server's, and what it is asked for."""
        settings, values = dict(values["config"]), {key: value for key, value in values.items() if key != "config"}
        if device := context.node_config.get("device"):
            settings["device"] = device
        node = str(context.node_config.get("partition-id", "missing"))
        try:
            config = _validated(json.dumps(settings))
            asked = request.model_validate_json(json.dumps(values))
        except ValidationError as error:
            raise VegasError(f"node {node} received an invalid request from the server: {explained(error)}") from error
        if node not in config.nodes:
            raise VegasError(
                f"partition-id is {node}, but the configuration has the nodes {', '.join(config.nodes)}; "
                "start the SuperNode with --node-config 'partition-id=…'"
            )
        _check_names(node, config)
        roots = Roots.of(node, context.node_config)
        if roots is not None:
            config = roots.confine(config)
            for folder in _folders(node, config, getattr(asked, "subfolder", "")):
                roots.check_writable(folder)
        return cls(node, config, states, roots), asked

    @property
    def entry(self) -> NodeConfig:
        """What the configuration says of this node."""
        return self.config.nodes[self.id]

    @functools.cached_property
    def device(self) -> str:
        """The device that its networks run on."""
        return resolve_device(self.config.device)

    @property
    def data(self) -> DataConfig:
        """Its data set."""
        return self.config.data_of(self.id)

    @functools.cached_property
    def clips(self) -> Split:
        """Its recordings, split."""
        if self.roots is not None:
            self.roots.check_data_root(self.config)
        try:
            if self.roots is not None:
                self.roots.check_links(self.config)
            return node_clips(self.data, self.config.peers(self.id), self.id, open_dataset(self.data))
        except VegasError as error:
            raise AboutRecordings(str(error)) from error

    @property
    def place(self) -> Path:
        """Folder of what it remembers of earlier runs: its own, or in process and in a simulation that of all runs."""
        folder = self.roots.output if self.roots else Path(self.config.paths.runs)
        assert folder is not None
        return folder

    @property
    def secret(self) -> bytes:
        """What its clips' ids and its keys are made with."""
        return own_secret(self.place / SECRET)

    @property
    def targets(self) -> Conditioning:
        """The text targets of all K classes, as the server sent them."""
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
            progress=f"node {self.id}",
        )
        return audio, torch.tensor(labels, dtype=torch.long)


@functools.lru_cache(maxsize=4)
def _validated(text: str) -> Config:
    """A configuration as the server sent it, parsed once for all nodes of a process."""
    return Config.model_validate_json(text)


def _check_names(node: str, config: Config) -> None:
    """Raise :class:`VegasError` if a class name that the server sent cannot be part of a file name. ``run`` and
    ``series`` were checked with the configuration."""
    for label in config.nodes[node].selected_classes:
        if mistake := class_name_mistake(label):
            raise VegasError(f"node {node}: the server sent the name of a class: {mistake}")


def _folders(node: str, config: Config, subfolder: str) -> list[Path]:
    """The folders that a node may write to for a request."""
    return [
        job_path(config, node, subfolder),
        Path(config.generator.checkpoint_dir) / f"node_{node}",
        Path(config.paths.cache),
    ]
