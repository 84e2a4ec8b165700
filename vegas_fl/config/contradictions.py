"""Contradictions between keys that are valid on their own."""

import re
from collections.abc import Iterator

from vegas_fl.config.sections import PARTS, DataConfig
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
    found += _groups(config)
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
    if config.evaluation.inception and not config.evaluation.reference:
        found.append("evaluation.inception has no effect without evaluation.reference, a folder of real pictures")
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
    """Nodes that share a class of one data set, but with different settings for splitting it. Where clips are dealt
    evenly, each node may use folds of its own, and no fold for two parts."""
    data = {node: config.data_of(node) for node in config.nodes}
    for node, entry in config.nodes.items():
        for other, peer in config.peers(node).items():
            shared = [name for name in entry.selected_classes if name in peer.selected_classes]
            ours, theirs = data[node], data[other]
            if node >= other or not shared or ours == theirs:
                continue
            free = {"max_seconds", "root"}
            if ours.partition == theirs.partition == "even" and ours.by_folds and theirs.by_folds:
                free |= {f"{part}_folds" for part in PARTS}
            differs = [key for key in set(DataConfig.model_fields) - free if getattr(ours, key) != getattr(theirs, key)]
            if differs:
                yield (
                    f"nodes {node} and {other} share the class {shared[0]} of one data set, but differ in "
                    f"{', '.join(sorted(differs))}, so they could use the same clips; set the same in both "
                    "nodes.N.dataset"
                )
                continue
            for part, folds in ours.folds.items():
                for their_part, their_folds in theirs.folds.items():
                    if part != their_part and (both := sorted({*folds} & {*their_folds})):
                        yield (
                            f"nodes {node} and {other} share the class {shared[0]} of one data set, but fold {both[0]} "
                            f"is in {part}_folds of one and in {their_part}_folds of the other; use it for the same "
                            "part in both nodes.N.dataset"
                        )


def _groups(config: Config) -> Iterator[str]:
    """Classes that share a generator."""
    everywhere = {
        "generator": config.generator,
        **{f"nodes.{i}.generator": n.generator for i, n in config.nodes.items()},
    }
    for key, settings in everywhere.items():
        groups = getattr(settings, "groups", None) or {}
        named = [label for group in groups.values() for label in group]
        chosen = getattr(settings, "train_classes", None) or ()
        if strange := sorted({*named, *chosen} - set(config.classes)):
            yield f"{key}: {', '.join(strange)} is a class of no node; the classes are {', '.join(config.classes)}"
        if twice := sorted({label for label in named if named.count(label) > 1}):
            yield f"{key}.groups: {', '.join(twice)} is in more than one group; a class belongs to one"
    asked = {i: n.generator.granularity for i, n in config.nodes.items() if n.generator and n.generator.granularity}
    if config.generator.name != "vae" and asked:
        yield f"nodes.{next(iter(asked))}.generator.granularity needs generator=vae, got {config.generator.name}"
    if "generators" not in config.stages or config.generator.name != "vae":
        return
    if config.generator.granularity == "all" and asked:
        yield f"generator.granularity=all is for all nodes; remove nodes.{next(iter(asked))}.generator.granularity"
    for node in config.nodes:
        own = config.generator_of(node)
        if own["granularity"] == "group" and not own["groups"]:
            yield f"node {node}: generator.granularity=group needs generator.groups, such as {{animals: [dog, cat]}}"
    if not any(map(config.trained_together, config.nodes)):
        yield "generator.train_classes leaves no node a class to train; name some of its classes, or set it to null"


def _closed_form(config: Config) -> Iterator[str]:
    """The closed-form adapter has an architecture, a number of rounds and targets of its own."""
    analytic, adapter = config.aggregation.name == "analytic", config.adapter
    if analytic != (adapter.architecture == "linear"):
        yield (
            f"aggregation={config.aggregation.name} does not go with adapter.architecture={adapter.architecture}: "
            "aggregation=analytic needs adapter=linear, and is the only one that does; set both, or neither"
        )
    if adapter.architecture == "attributes" and not config.encoder.attributes:
        yield (
            "adapter.architecture=attributes needs embeddings with measured attributes; set targets=attributes, or "
            "encoder.attributes=true"
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
