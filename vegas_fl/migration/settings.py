"""One JSON configuration of the replaced system → values of ours, and sentences for its owner."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from vegas_fl.core.errors import VegasError
from vegas_fl.data.classes import VEGAS
from vegas_fl.migration.experiment import Import
from vegas_fl.migration.keys import KEYS, NODE_KEYS, Key, read
from vegas_fl.migration.nodes import folds, granularity, nodes_of

SIZES = {
    "flux": {"encoder": "ast", "adapter": "attention", "renderer": "flux_schnell"},
    "tiny": {"encoder": "yamnet", "adapter": "tiny", "renderer": "tiny"},
}

NODES = ("nodes", "nodes_tasks")
ALIASES = {"adapter_aggregation_method": "adapter_aggregation_mode", "num_samples": "num_samples_per_class"}
"""Older names of keys."""

LOADED = ("use_pretrained_generators", "generator_load_checkpoint")
"""Either means that generators already exist."""

DRAWS = {"nodes": "nodes", "server": "global"}
"""Who draws, and the replaced system's word for it."""

DECAYS = ("clip_adapter_weight_decay", "t5_adapter_weight_decay", "adapters_weight_decay")
SEED = 42

Size = Literal["flux", "tiny"]
TextFlags = Literal["guide", "code"]


def translate(
    old: Mapping[str, Any],
    run: str,
    *,
    size: Size = "flux",
    text_flags: TextFlags = "guide",
    esc50_classes: Sequence[str] = (),
) -> Import:
    """Translate the content of a file to a configuration of ``run``. Keys count in whatever section they are; ``nodes``
    is a section of its own.

    Parameters
    ----------
    size : {"flux", "tiny"}
        The models: those of the file, or the tiny pack's.
    text_flags : {"guide", "code"}
        Meaning of ``generate_from_…_text_embeddings``: in its guide, true is "use this branch, fed by the adapter" and
        false "do not use it"; in its code, true is "feed the class prompt's embedding" and false "the adapter's".

    Raises
    ------
    VegasError
        An entry of ``nodes`` is not an object.
    """
    new = Import(groups=dict(SIZES[size]), values={"run": run})
    if size == "flux":
        new.values["renderer"] = {"steps": 1}  # as the replaced system drew
    flat, nodes = _flattened(old)
    _sort(flat, KEYS, "", new)
    flat = read(flat, KEYS, "", new)
    for node, entry in nodes.items():
        _sort(entry, NODE_KEYS, f"nodes.{node}.", new)
        nodes[node] = read(entry, NODE_KEYS, f"nodes.{node}.", new)
    _plain(flat, new, size)
    _stages(flat, new)
    _aggregation(flat, new)
    _conditioning(flat, new, text_flags)
    nodes_of(flat, nodes, new, {"vegas": sorted(VEGAS), "esc50": sorted(esc50_classes)})
    _checkpoints(flat, run, new)
    if "num_clients" in flat and flat["num_clients"] != len(nodes):
        new.suspicious.append(
            f"num_clients is {flat['num_clients']}, but nodes has {len(nodes)} entries: {len(nodes)} are used"
        )
    return new


def _flattened(old: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """All keys of all sections but ``nodes``, and the entries of ``nodes``."""
    flat: dict[str, Any] = {}
    nodes: dict[str, dict[str, Any]] = {}
    for key, value in old.items():
        if key in NODES and isinstance(value, dict):
            nodes = {str(node): _renamed(str(node), entry) for node, entry in value.items()}
        elif key in NODES and isinstance(value, list):
            nodes = {str(node): _renamed(str(node), entry) for node, entry in enumerate(value)}
        elif isinstance(value, dict) and key != "generator_class_group":
            inner, more = _flattened(value)
            if key == "dataset" and "name" in inner:  # a section of that name has the data set as its "name"
                inner["dataset"] = inner.pop("name")
            flat |= inner
            nodes |= more
        else:
            flat[ALIASES.get(key, key)] = value
    return flat, nodes


def _renamed(node: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise VegasError(
            f'nodes.{node} is {entry!r}, expected {{"selected_classes": ["dog"], "samples_per_node": 200}}; correct it'
        )
    return {ALIASES.get(str(key), str(key)): value for key, value in entry.items()}


def _sort(entry: Mapping[str, Any], known: Mapping[str, Key], prefix: str, new: Import) -> None:
    """Report keys that are notes, unsupported or unknown."""
    for key in entry:
        what = known.get(key)
        if what is None:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}? The replaced system ignored it" if close else "unknown key"
            new.unsupported.append(f"{prefix}{key}: {hint}")
        elif what.fate == "unsupported":
            new.unsupported.append(f"{prefix}{key}: {what.text}")
        elif what.fate == "note":
            new.notes.append(f"{prefix}{key}: {what.text}")


def _plain(flat: Mapping[str, Any], new: Import, size: Size) -> None:
    for key, what in KEYS.items():
        if what.fate == "renamed" and key in flat:
            new.put(what.to, flat[key], key)
    if "seed" in flat and flat["seed"] < 0:
        new.notes.append(f"seed={flat['seed']}: a new seed each time there; here it is {SEED} unless changed")
    elif "seed" in flat:
        new.put("seed", flat["seed"], "seed")
    _adapters(flat, new)
    _generators(flat, new, size)
    if "use_folds" in flat and ("train_folds" in flat or not flat["use_folds"]):
        new.notes.append(f"use_folds={flat['use_folds']}: implied by data.train_folds and data.test_folds")
    for key, chosen in folds(flat, new).items():
        new.put(f"data.{key}", chosen, key)


def _adapters(flat: Mapping[str, Any], new: Import) -> None:
    """Learning rates and weight decays."""
    if "adapters_learning_rate" in flat:
        for branch in ("clip", "t5"):
            if f"{branch}_adapter_learning_rate" not in flat:
                new.put(f"adapter.{branch}_learning_rate", flat["adapters_learning_rate"], "adapters_learning_rate")
            else:
                new.notes.append(f"adapters_learning_rate: {branch}_adapter_learning_rate takes precedence")
    decays = {key: flat[key] for key in DECAYS if key in flat}
    if len(set(decays.values())) == 1:
        new.put("adapter.weight_decay", next(iter(decays.values())), ", ".join(decays))
    elif decays:
        said = ", ".join(f"{key}={value:g}" for key, value in decays.items())
        new.unsupported.append(f"{said}: both branches share one weight decay; set adapter.weight_decay")


def _generators(flat: Mapping[str, Any], new: Import, size: Size) -> None:
    """Kind, granularity and number of tokens."""
    if size == "tiny" and "cls_token_only" in flat:
        new.notes.append("cls_token_only: applies to AST; YAMNet has no CLS token")
    elif flat.get("cls_token_only"):
        new.put("encoder.tokens", 1, "cls_token_only")
    elif "cls_token_only" in flat:
        new.notes.append("cls_token_only: false, as here")
    if "encoder" in new.values and "generator_sequence_length" in flat:
        new.notes.append("generator_sequence_length: cls_token_only takes precedence")
    elif "generator_sequence_length" in flat:
        tokens = flat["generator_sequence_length"]
        if size == "tiny":
            new.notes.append(f"generator_sequence_length={tokens}: applies to AST; YAMNet has its own encoder.tokens")
        elif tokens > 101 and tokens != 1214:
            new.unsupported.append(
                f"generator_sequence_length={tokens}: AST returns 1 to 101 tokens or all 1214; set encoder.tokens"
            )
        else:
            new.put("encoder.tokens", tokens, "generator_sequence_length")
    if chosen := granularity(flat, "", new):
        new.values.setdefault("generator", {}).update(chosen)
    if "generator_type" in flat and str(flat["generator_type"]).lower() != "vae":
        new.unsupported.append(f"generator_type={flat['generator_type']}: one VAE per class")
    elif "generator_type" in flat:
        new.taken.append("generator_type → generator=vae")


def _stages(flat: Mapping[str, Any], new: Import) -> None:
    trains_generators = bool(flat.get("generator_training_mode") or flat.get("generator_only_mode"))
    adapters = bool(flat.get("global_model_train", True)) and not trains_generators
    only_generators = trains_generators
    if flat.get("use_generator") and not any(flat.get(key) for key in LOADED) and not trains_generators:
        if flat.get("generator_training_mode", True):
            trains_generators = True
        else:
            new.suspicious.append(
                "use_generator, but no generator is trained (generator_training_mode) or loaded "
                "(use_pretrained_generators): generators are expected in generator.checkpoint_dir"
            )
    every = {where: flat.get(f"generate_{key}_images_frequency") or 0 for where, key in DRAWS.items()}
    images = any(every.values())
    chosen = [("generators", trains_generators), ("adapters", adapters), ("images", images and not only_generators)]
    stages = [name for name, wanted in chosen if wanted]
    if not stages:
        stages = ["adapters"]
        new.suspicious.append("it neither trains nor draws: taken as a training of adapters")
    keys = [key for key in KEYS if key in flat and KEYS[key].to.startswith("stages")]
    new.put("stages", stages, ", ".join(keys) or "(not set)")
    if "images" in stages:
        _images(flat, every, adapters, new)
    elif images:
        new.suspicious.append("it asks for pictures while training generators: they are left to a later step")
    if flat.get("generate_embeddings_only"):
        new.put("images.output", "embeddings", "generate_embeddings_only")
    elif "generate_embeddings_only" in flat:
        new.notes.append("generate_embeddings_only: false, pictures are drawn")


def _images(flat: Mapping[str, Any], every: Mapping[str, int], trains: bool, new: Import) -> None:
    """Who draws, with whose adapters, after which rounds."""
    because = ", ".join(f"generate_{DRAWS[where]}_images_frequency" for where in every if every[where])
    where = "both" if all(every.values()) else next(where for where in every if every[where])
    if _standalone(flat) and where != "nodes":
        new.suspicious.append(
            "generate_global_images_frequency: without an aggregation the server has no adapter to draw with; "
            "the nodes draw, each with its own"
        )
        where = "nodes"
    new.put("images.where", where, because)
    if flat.get("use_generator") is False and where == "nodes":
        new.put("images.source", "recordings", "use_generator")
    new.put("images.adapters", "local" if _standalone(flat) else "global", because)
    rounds = {frequency for frequency in every.values() if frequency}
    if len(rounds) > 1:
        new.unsupported.append(f"{because} differ: nodes and server draw after the same rounds; set images.every")
    elif trains and rounds and max(rounds) < flat.get("global_rounds", 1):
        new.put("images.every", max(rounds), because)


def _standalone(flat: Mapping[str, Any]) -> bool:
    return str(flat.get("adapter_aggregation_mode", "none")).lower() == "none" and bool(
        flat.get("global_model_train", True) and not flat.get("global_model_train_from_generator")
    )


def _aggregation(flat: Mapping[str, Any], new: Import) -> None:
    mode = str(flat.get("adapter_aggregation_mode", "none")).lower()
    if flat.get("global_model_train_from_generator"):
        choice, because = "replay", "global_model_train_from_generator"
        if "adapter_aggregation_mode" in flat:
            new.notes.append(f"adapter_aggregation_mode={mode}: {because} takes precedence")
    else:
        choice = {"none": "standalone", "avg": "fedavg", "kd": "kd"}.get(mode, "standalone")
        because = "adapter_aggregation_mode"
        if mode not in ("none", "avg", "kd"):
            new.suspicious.append(f"adapter_aggregation_mode is {mode}, expected none, avg or kd: taken as none there")
    if "adapters" not in new.values["stages"] and "images" in new.values["stages"] and choice == "standalone":
        choice = "kd"  # nothing is aggregated, but standalone would contradict images.adapters=global
    new.groups["aggregation"] = choice
    new.taken.append(f"{because} → aggregation={choice}")
    if choice == "fedavg":
        new.put("aggregation.weighted", False, because)
    for key, ours in (
        ("kd_training_epochs", "epochs"),
        ("kd_learning_rate", "learning_rate"),
        ("kd_samples_per_class", "samples_per_class"),
        ("global_model_train_epochs", "epochs"),
    ):
        if key in flat and choice in (("replay",) if key.startswith("global") else ("kd", "replay")):
            new.put(f"aggregation.{ours}", flat[key], key)
        elif key in flat:
            new.notes.append(f"{key}: has no effect with aggregation={choice}")
    if choice == "kd" and "kd_learning_rate" in flat:
        new.notes.append("kd_learning_rate was ignored there, so results will differ; the default here is 0.003")


def _conditioning(flat: Mapping[str, Any], new: Import, meaning: TextFlags) -> None:
    fed = {"guide": {True: "adapter", False: "none"}, "code": {True: "text", False: "adapter"}}[meaning]
    for branch in ("clip", "t5"):
        key = f"generate_from_{branch}_text_embeddings"
        if key in flat:
            new.put(f"conditioning.{branch}", fed[bool(flat[key])], key)
    if any(key.startswith("generate_from_") for key in flat):
        other = "code" if meaning == "guide" else "guide"
        new.notes.append(
            f"generate_from_…_text_embeddings have the meaning of its {meaning}; for that of its {other}, use "
            f"--text-flags {other}"
        )


def _checkpoints(flat: Mapping[str, Any], run: str, new: Import) -> None:
    """Folders of checkpoints, and whether they belong to another run."""
    loads = bool(flat.get("adapter_load_checkpoint")) and "adapters" in new.values["stages"]
    merges = new.groups["aggregation"] in ("kd", "fedavg")
    if "adapter_checkpoint_dir" in flat:
        which = "local_checkpoint_dir" if loads and merges else "checkpoint_dir"
        new.put(f"adapter.{which}", str(flat["adapter_checkpoint_dir"]), "adapter_checkpoint_dir")
    if loads and not merges:
        new.suspicious.append(
            "adapter_load_checkpoint: loaded adapters were not trained further there; here they are trained again, "
            "unless stages is [images]"
        )
    shape = _shape(run)
    for key in ("generator_checkpoint_dir", "adapter_checkpoint_dir"):
        other = _shape(str(flat.get(key, "")))
        if shape and other and shape != other:
            new.suspicious.append(f"{key} is for {other}, but this run is {shape}: another run's checkpoints")


def _shape(name: str) -> str | None:
    """Nodes, classes and samples in a name: vegas_2n_2c_200s_kd → "2n-2c-200s"."""
    found = re.search(r"(\d+n)[-_](\d+c)(?:[-_](\d+s))?", name)
    return "-".join(part for part in found.groups() if part) if found else None
