"""The whole configuration, and properties derived from it."""

import functools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

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
        sections.KDConfig
        | sections.ReplayConfig
        | sections.FedAvgConfig
        | sections.AnalyticConfig
        | sections.StandaloneConfig,
        Field(discriminator="name"),
    ]
    renderer: sections.RendererConfig
    engine: Annotated[sections.InProcessConfig | sections.FlowerConfig, Field(discriminator="name")]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values, which derives its own properties."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    @functools.cached_property
    def text(self) -> str:
        """The whole configuration as JSON, as it goes with every message to a node."""
        return json.dumps(self.model_dump(mode="json"))

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes of all nodes, sorted. A class's position is its index everywhere."""
        return tuple(sorted({name for node in self.nodes.values() for name in node.selected_classes}))

    def data_of(self, node: str) -> DataConfig:
        """A node's data settings: ``data`` with the changes of its ``dataset``."""
        own = self.nodes[node].dataset
        return own.over(self.data) if own else self.data

    def generator_of(self, node: str) -> dict[str, Any]:
        """Which classes share a generator, and which are trained at all, on a node."""
        own = self.nodes[node].generator
        chosen = {"granularity": "class", "groups": {}, "train_classes": None, **self.generator.model_dump()}
        return chosen | (own.model_dump(exclude_none=True) if own else {})

    def trained_together(self, node: str) -> list[tuple[str, ...]]:
        """The classes that a node trains generators of, in the groups that share a network."""
        settings = self.generator_of(node)
        chosen, granularity = settings["train_classes"], settings["granularity"]
        labels = tuple(c for c in self.nodes[node].selected_classes if chosen is None or c in chosen)
        if granularity in ("node", "all"):
            return [labels] if labels else []
        groups = settings["groups"].values() if granularity == "group" else ()
        of = {label: names for names in groups for label in names}
        together = dict.fromkeys(of.get(label, (label,)) for label in labels)
        return [tuple(label for label in labels if label in names) for names in together]

    def peers(self, node: str) -> dict[str, NodeConfig]:
        """The nodes, including this one, that read the same data set and therefore share the clips of a class. Where
        any sets a ``dataset`` of its own, each has all its keys."""
        return next(peers for peers in self.sharing if node in peers)

    def with_root(self, node: str, root: str) -> Self:
        """This configuration for a ``node`` that keeps its data set in the folder ``root``. Its peers stay the same,
        unless nodes share no clips (``data.partition=none``)."""
        nodes = dict(self.nodes)
        for peer in [node] if self.data_of(node).partition == "none" else self.peers(node):
            entry = nodes[peer]
            changes = entry.dataset.model_dump() if entry.dataset else {}
            nodes[peer] = entry.model_copy(update={"dataset": DatasetConfig(**{**changes, "root": root})})
        return self.model_copy(update={"nodes": nodes})

    @functools.cached_property
    def sharing(self) -> list[dict[str, NodeConfig]]:
        """The nodes in groups that read one data set: of the same layout, in the same real folder."""
        found: dict[tuple[str, str | None], dict[str, NodeConfig]] = {}
        sources: dict[DataConfig, tuple[str, str | None]] = {}
        for node, entry in self.nodes.items():
            if (data := self.data_of(node)) not in sources:
                sources[data] = data.name, data.root and os.path.realpath(os.path.expanduser(data.root))
            found.setdefault(sources[data], {})[node] = entry
        for group in found.values():
            if any(entry.dataset for entry in group.values()):
                for node, entry in group.items():
                    own = DatasetConfig(**self.data_of(node).model_dump())
                    group[node] = entry.model_copy(update={"dataset": own})
        return list(found.values())

    @property
    def judge_classes(self) -> tuple[str, ...]:
        """The classes that the judge chooses from."""
        return tuple(sorted({*self.images.judge_classes, *self.classes}))

    @property
    def needs_recordings(self) -> bool:
        """Whether any stage of the run reads recordings."""
        draws = "images" in self.stages and self.images.source == "recordings"
        return draws or "generators" in self.stages or "adapters" in self.stages

    @property
    def compares_local(self) -> bool:
        """Whether the nodes' own adapters are evaluated."""
        return "local" in self.evaluation.compare or self.aggregation.name == "standalone"

    @property
    def evaluates_generators(self) -> bool:
        """Whether nodes compare generators with recordings, after training them or before sampling them."""
        sampled = isinstance(self.aggregation, StudentConfig) or self.adapter.replay_samples
        used = "generators" in self.stages or ("adapters" in self.stages and bool(sampled))
        return used and self.evaluation.generators and self.evaluation.split != "none"


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of nested values, each with its whole key: ``data.root``."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
