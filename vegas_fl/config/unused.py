"""Keys given on the command line that the chosen options do not use: the run would not be the one asked for."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from vegas_fl.config.mistakes import not_used
from vegas_fl.config.sections import DataConfig
from vegas_fl.config.whole import Config, flat

Use = tuple[str, str]
"""The option that was chosen and does not use a key, and one that does."""

LOCAL_TRAINING = (
    "local_epochs",
    "replay_samples",
    "clip_learning_rate",
    "t5_learning_rate",
    "weight_decay",
    "batch_size",
)
"""Keys of ``adapter`` for the nodes' own training."""


def unused(config: Config, overrides: Sequence[str]) -> list[str]:
    """A sentence for each of the keys in Hydra ``overrides`` that ``config`` makes no use of. Keys that are set to
    nothing (null, []) are none."""
    others = dict(_uses(config))
    found = []
    for key in given(overrides):
        parts = key.split(".")
        use = others.get(key)
        if parts[0] == "data" and len(parts) == 2:
            use = _shared_data(config, parts[1])
        elif parts[0] == "nodes" and parts[2:3] == ["dataset"] and len(parts) == 4 and parts[1] in config.nodes:
            use = _data(config.data_of(parts[1]), parts[3], f"nodes.{parts[1]}.dataset.")
        if use:
            found.append(not_used(key, *use))
    return found


def given(overrides: Sequence[str]) -> Iterator[str]:
    """The keys that overrides set, those within {…} too."""
    for override in overrides:
        key, equals, value = override.lstrip("+").partition("=")
        if not equals or override.startswith("~") or value.strip() in ("", "null", "[]"):
            continue
        if value.lstrip().startswith("{"):
            inner = OverridesParser.create().parse_override(override).value()
            yield from (name for name, _ in flat({key: inner}))
        else:
            yield key


def _uses(config: Config) -> Iterator[tuple[str, Use]]:
    """Keys that are not used, outside of ``data``."""
    images, renderer, encoder = config.images, config.renderer, config.encoder
    if all(node.samples_per_node != config.samples_per_node for node in config.nodes.values()):
        yield "samples_per_node", ("nodes.N.samples_per_node, which every node has,", "a node without one")
    hub = "a model on the Hugging Face Hub"
    if encoder.name == "yamnet":
        yield "encoder.revision", ("encoder=yamnet", "encoder=ast")
    elif _is_folder(encoder.model):
        yield "encoder.revision", (f"encoder.model={encoder.model}", hub)
    if _is_folder(renderer.model):
        yield "renderer.revision", (f"renderer.model={renderer.model}", hub)
    if not renderer.judge or _is_folder(renderer.judge):
        yield "renderer.judge_revision", (f"renderer.judge={renderer.judge or 'null'}", hub)
    if not renderer.judge:
        yield "images.judge_classes", ("renderer.judge=null", "renderer.judge=pack")
    if renderer.memory != "auto":
        yield "renderer.low_memory", (f"renderer.memory={renderer.memory}", "renderer.memory=auto")
    if renderer.guidance_scale and _unguided(renderer.model):
        yield "renderer.guidance_scale", (f"renderer.model={renderer.model}", "renderer=flux_dev")
    if images.where == "nodes":
        yield "images.server_samples", ("images.where=nodes", "images.where=server or both")
    if images.output == "embeddings":
        yield "images.sheet_columns", ("images.output=embeddings", "images.output=pictures")
    if config.evaluation.split == "none":
        for key in ("compare", "local_nodes", "every"):
            yield f"evaluation.{key}", ("evaluation.split=none", "evaluation.split=test")
    elif "local" not in config.evaluation.compare:
        yield "evaluation.local_nodes", ("evaluation.compare without local", "evaluation.compare=[local]")
    if folder := config.adapter.local_checkpoint_dir:
        for key in LOCAL_TRAINING:
            yield f"adapter.{key}", (f"adapter.local_checkpoint_dir={folder}", "adapter.local_checkpoint_dir=null")


def _shared_data(config: Config, key: str) -> Use | None:
    """Who does not use a key of ``data``, if no node does."""
    inherit = [
        node for node, entry in config.nodes.items() if not entry.dataset or key not in entry.dataset.model_fields_set
    ]
    if not inherit:
        return f"nodes.N.dataset.{key}, which every node has,", "a node without one"
    uses = [_data(config.data_of(node), key, "data.") for node in inherit]
    return uses[0] if all(uses) else None


def _data(data: DataConfig, key: str, prefix: str) -> Use | None:
    """Who does not use a key of a data set, and who would."""
    option = "data=" if prefix == "data." else f"{prefix}name="
    if key == "root" and data.name == "toy":
        return f"{option}toy", f"{option}folder (or esc50, vegas, vggsound)"
    if key == "clips_per_class" and data.name != "toy":
        return f"{option}{data.name}", f"{option}toy"
    for partition, own in (("dirichlet", "dirichlet_alpha"), ("pathological", "classes_per_node")):
        if key == own and data.partition != partition:
            return f"{prefix}partition={data.partition}", f"{prefix}partition={partition}"
    if key in ("train_ratio", "test_ratio") and data.by_folds:
        return f"{prefix}train_folds", f"{prefix}train_folds=null {prefix}test_folds=null"
    if key == "val_ratio" and data.by_folds and data.val_folds is not None:
        return f"{prefix}val_folds={list(data.val_folds)}", f"{prefix}val_folds=null"
    return None


def _is_folder(model: str) -> bool:
    return model == "pack" or Path(model).expanduser().is_dir()


def _unguided(model: str) -> bool:
    """Whether a FLUX takes no guidance: schnell and those made from it."""
    config = Path(model).expanduser() / "transformer" / "config.json"
    try:
        return not json.loads(config.read_text("utf8"))["guidance_embeds"]
    except (OSError, ValueError, KeyError, TypeError):
        return model == "pack" or "schnell" in model
