"""Contradictions between keys that are valid on their own."""

import re
from collections.abc import Iterator

from vegas_fl.config.whole import Config
from vegas_fl.core.names import class_name_mistake


def contradictions(config: Config) -> list[str]:
    """All contradictions, as sentences."""
    found = []
    wanted = [str(i) for i in range(len(config.nodes))]
    if sorted(config.nodes) != sorted(wanted):
        found.append(
            f"nodes: expected the names {', '.join(wanted)} for {len(wanted)} nodes, got {', '.join(config.nodes)}"
        )
    for node, entry in config.nodes.items():
        names = entry.selected_classes
        if len(set(names)) < len(names):
            found.append(f"nodes.{node}.selected_classes: {list(names)} names a class twice; name each class once")
        if entry.samples_per_node < len(names):
            found.append(
                f"nodes.{node}.samples_per_node={entry.samples_per_node} is less than its {len(names)} classes; use "
                "at least one for each class"
            )
        for name in names:
            if mistake := class_name_mistake(name):
                found.append(f"nodes.{node}.selected_classes: {mistake}")
    found += _different_splits(config)
    order = [s for s in ("generators", "adapters", "images") if s in config.stages]
    if list(config.stages) != order:
        found.append(f"stages: {list(config.stages)} is out of order; use {order}")
    if (least := config.federation.min_nodes or 0) > len(config.nodes):
        found.append(f"federation.min_nodes: expected at most {len(config.nodes)}, the number of nodes; got {least}")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        found.append(f"device: expected auto, cpu, cuda, cuda:N or mps; got {config.device!r}")
    if config.adapter.local_checkpoint_dir == config.adapter.checkpoint_dir:
        found.append(
            "adapter.local_checkpoint_dir is the same folder as adapter.checkpoint_dir, where this run saves its "
            "adapters; give the run another name"
        )
    if config.evaluation.reference and not config.renderer.judge:
        found.append("evaluation.reference needs renderer.judge, which is null; set a judge, or remove the reference")
    found += _rendering(config)
    found += _closed_form(config)
    if config.targets != "class" and config.aggregation.name == "replay" and "adapters" in config.stages:
        found.append(
            f"targets={config.targets} has no effect with aggregation=replay, which trains on samples that have no "
            "caption and no recording, only the prompt of their class; use aggregation=kd, or targets=class"
        )
    if config.aggregation.name == "standalone" and "images" in config.stages and config.images.adapters == "global":
        found.append(
            "aggregation=standalone makes no global adapter, but images.adapters=global needs one; "
            "set images.adapters=local"
        )
    return found


def _different_splits(config: Config) -> Iterator[str]:
    """Nodes that share a class of one data set, but with different settings for splitting it."""
    for node, entry in config.nodes.items():
        ours = config.data_of(node).model_dump(exclude={"max_seconds", "root"})
        for other, peer in config.peers(node).items():
            theirs = config.data_of(other).model_dump(exclude={"max_seconds", "root"})
            shared = [name for name in entry.selected_classes if name in peer.selected_classes]
            differs = [key for key in ours if ours[key] != theirs[key]]
            if node < other and shared and differs:
                yield (
                    f"nodes {node} and {other} share the class {shared[0]} of one data set, but differ in "
                    f"{', '.join(differs)}, so they could use the same clips; set the same in both nodes.N.dataset"
                )


def _closed_form(config: Config) -> Iterator[str]:
    """The closed-form adapter has an architecture, a number of rounds and targets of its own."""
    analytic, adapter = config.aggregation.name == "analytic", config.adapter
    if analytic != (adapter.architecture == "linear"):
        yield (
            f"aggregation={config.aggregation.name} does not go with adapter.architecture={adapter.architecture}: "
            "aggregation=analytic needs adapter=linear, and is the only one that does; set both, or neither"
        )
    if not analytic:
        return
    if adapter.hidden < len(config.classes):
        yield (
            f"adapter.hidden={adapter.hidden} is less than the {len(config.classes)} classes, and adapter=linear needs "
            "one for each; make it larger"
        )
    for key, value, wanted in (
        ("rounds", config.rounds, 1),
        ("targets", config.targets, "class"),
        ("adapter.local_checkpoint_dir", adapter.local_checkpoint_dir, None),
    ):
        if value != wanted:
            shown = "null" if wanted is None else wanted
            yield f"{key}={value} has no effect with aggregation=analytic, which trains nothing; set {key}={shown}"


def _rendering(config: Config) -> list[str]:
    """Contradictions in the settings for pictures."""
    found = []
    renderer, images = config.renderer, config.images
    for side in ("height", "width"):
        if (pixels := getattr(renderer, side)) % 16:
            nearest = max(16, round(pixels / 16) * 16)
            found.append(f"renderer.{side}: expected a multiple of 16 pixels, got {pixels}; use {nearest}")
    if renderer.quantization != "none" and renderer.memory == "sequential":
        found.append(
            f"renderer.memory=sequential does not work with renderer.quantization={renderer.quantization}; "
            "use memory=group_offload, or quantization=none"
        )
    if images.where != "nodes":
        if images.adapters == "local":
            found.append(
                f"images.where={images.where}: the server has no adapter of its own; set images.adapters=global"
            )
        if images.source == "recordings":
            found.append(f"images.where={images.where}: the server has no recordings; set images.source=generator")
        if images.server_samples < len(config.classes):
            found.append(
                f"images.server_samples={images.server_samples} is less than the {len(config.classes)} classes; "
                "the server draws at least one picture for each"
            )
    if images.every and images.round:
        found.append("images.every and images.round exclude each other; set one of them to null")
    return found
