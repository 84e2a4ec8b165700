"""What is wrong across keys that are each well-formed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vegas_fl.config.whole import Config
from vegas_fl.core.names import class_name_mistake


def contradictions(config: Config) -> list[str]:
    """A sentence for each."""
    found = []
    wanted = [str(i) for i in range(len(config.nodes))]
    if sorted(config.nodes) != sorted(wanted):
        found.append(f"nodes: named {', '.join(config.nodes)}; {len(wanted)} nodes are named {', '.join(wanted)}")
    for node, entry in config.nodes.items():
        names = entry.selected_classes
        if len(set(names)) < len(names):
            found.append(f"nodes.{node}.selected_classes: {list(names)} names a class twice; name each once")
        if entry.samples_per_node < len(names):
            found.append(
                f"nodes.{node}.samples_per_node={entry.samples_per_node} is less than its {len(names)} classes; give "
                "it at least one clip and picture a class"
            )
        for name in names:
            if mistake := class_name_mistake(name):
                found.append(f"nodes.{node}.selected_classes: {mistake}")
    found += _different_splits(config)
    order = [s for s in ("generators", "adapters", "images") if s in config.stages]
    if list(config.stages) != order:
        found.append(f"stages: {list(config.stages)} is not in the order of the work; use {order}")
    if config.min_nodes > len(config.nodes):
        found.append(f"federation.min_nodes: {config.min_nodes} of {len(config.nodes)} nodes; use at most that many")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        found.append(f"device: {config.device!r} is not one of auto, cpu, cuda, cuda:N, mps")
    if config.adapter.local_checkpoint_dir == config.adapter.checkpoint_dir:
        found.append(
            "adapter.local_checkpoint_dir is adapter.checkpoint_dir, where this run's adapters go; "
            "give the run another name"
        )
    if config.evaluation.reference and not config.renderer.judge:
        found.append("evaluation.reference is compared by renderer.judge, which is null; set a judge, or no reference")
    found += _rendering(config)
    if config.targets != "class" and config.aggregation.name == "replay" and "adapters" in config.stages:
        found.append(
            f"targets={config.targets} has no effect with aggregation=replay, which teaches samples their class's "
            "prompt: they have no caption, and nobody heard them; use aggregation=kd, or targets=class"
        )
    if config.aggregation.name == "standalone" and "images" in config.stages and config.images.adapters == "global":
        found.append(
            "aggregation=standalone makes no global adapter, but images.adapters=global draws with it; "
            "set images.adapters=local"
        )
    return found


def _different_splits(config: Config) -> Iterator[str]:
    """Nodes that share a class of one data set, but would not agree on who owns which clip."""
    for node, entry in config.nodes.items():
        ours = config.data_of(node).model_dump(exclude={"max_seconds", "root"})
        for other, peer in config.peers(node).items():
            theirs = config.data_of(other).model_dump(exclude={"max_seconds", "root"})
            shared = [name for name in entry.selected_classes if name in peer.selected_classes]
            differs = [key for key in ours if ours[key] != theirs[key]]
            if node < other and shared and differs:
                yield (
                    f"nodes {node} and {other} share the class {shared[0]} of one data set, but not its "
                    f"{', '.join(differs)}: clips of one could be the other's; give both the same in nodes.N.dataset"
                )


def _rendering(config: Config) -> list[str]:
    """What is wrong with how pictures are to be drawn."""
    found = []
    renderer, images = config.renderer, config.images
    for side in ("height", "width"):
        if (pixels := getattr(renderer, side)) % 16:
            found.append(f"renderer.{side}: FLUX draws multiples of 16 pixels; use {max(16, round(pixels / 16) * 16)}")
    if renderer.quantization != "none" and renderer.memory == "sequential":
        found.append(
            f"renderer.memory=sequential moves weights one by one, which renderer.quantization={renderer.quantization} "
            "does not survive; use memory=group_offload, or quantization=none"
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
                "the server paints each at least once"
            )
    if images.every and images.round:
        found.append("images.every draws many rounds, images.round draws one; set one of them to null")
    return found
