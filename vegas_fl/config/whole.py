"""A whole configuration, and what follows from it."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from vegas_fl.config import sections
from vegas_fl.config.sections import DataConfig, DatasetConfig, Name, NodeConfig, Section, StudentConfig


class Config(Section):
    run: Name
    series: Name
    seed: int
    stages: Annotated[tuple[Literal["generators", "adapters", "images"], ...], Field(min_length=1)]
    rounds: PositiveInt
    threads: PositiveInt
    device: str
    nodes: Annotated[dict[str, NodeConfig], Field(min_length=1)]
    samples_per_node: PositiveInt
    targets: Literal["class", "caption", "attributes"]
    images_output_dir: str
    conditioning: sections.ConditioningConfig
    images: sections.ImagesConfig
    evaluation: sections.EvaluationConfig
    federation: sections.FederationConfig
    transport: sections.TransportConfig
    tracking: sections.TrackingConfig
    paths: sections.PathsConfig
    data: DataConfig
    encoder: sections.EncoderConfig
    generator: sections.GeneratorConfig
    adapter: sections.AdapterConfig
    aggregation: Annotated[
        sections.KDConfig | sections.ReplayConfig | sections.FedAvgConfig | sections.StandaloneConfig,
        Field(discriminator="name"),
    ]
    renderer: sections.RendererConfig
    engine: Annotated[sections.InProcessConfig | sections.FlowerConfig, Field(discriminator="name")]

    @property
    def classes(self) -> tuple[str, ...]:
        """The federation's classes: those of all nodes, sorted. Position in it = class index everywhere."""
        return tuple(sorted({name for node in self.nodes.values() for name in node.selected_classes}))

    def data_of(self, node: str) -> DataConfig:
        """Where a node's recordings come from: ``data``, with what its ``dataset`` changes."""
        own = self.nodes[node].dataset
        return own.over(self.data) if own else self.data

    def peers(self, node: str) -> dict[str, NodeConfig]:
        """The nodes (this one among them) that read the same data set, and so share out the clips of a class."""
        own, ours = self.nodes[node].dataset, self._source(node)
        return {
            other: entry for other, entry in self.nodes.items() if entry.dataset == own or self._source(other) == ours
        }

    def with_root(self, node: str, root: str) -> Config:
        """This configuration as ``node`` sees it, whose data set lies in a folder of its own. Who shares it with
        whom stays as it is, unless nothing is dealt out (``data.partition=none``)."""
        nodes = dict(self.nodes)
        peers = {node: nodes[node]} if self.data_of(node).partition == "none" else self.peers(node)
        for peer, entry in peers.items():
            changes = entry.dataset.model_dump() if entry.dataset else {}
            nodes[peer] = entry.model_copy(update={"dataset": DatasetConfig(**{**changes, "root": root})})
        return self.model_copy(update={"nodes": nodes})

    def _source(self, node: str) -> tuple[str, str | None]:
        """The data set a node reads: its layout, and its folder however that is written."""
        data = self.data_of(node)
        return data.name, data.root and os.path.realpath(os.path.expanduser(data.root))

    @property
    def judge_classes(self) -> tuple[str, ...]:
        """The classes that pictures are judged among."""
        return tuple(sorted({*self.images.judge_classes, *self.classes}))

    @property
    def min_nodes(self) -> int:
        """Nodes whose valid replies a stage needs."""
        return self.federation.min_nodes or len(self.nodes)

    @property
    def needs_recordings(self) -> bool:
        """Whether any stage of the run reads recordings."""
        draws = "images" in self.stages and self.images.source == "recordings"
        return draws or "generators" in self.stages or "adapters" in self.stages

    @property
    def evaluates_generators(self) -> bool:
        """Whether nodes compare generators with recordings: those just trained, or those about to be sampled."""
        sampled = isinstance(self.aggregation, StudentConfig) or self.adapter.replay_samples
        used = "generators" in self.stages or ("adapters" in self.stages and bool(sampled))
        return used and self.evaluation.generators and self.evaluation.split != "none"
