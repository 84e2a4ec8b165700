"""One JSON configuration of the replaced system → values of ours, and what its owner should know."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vegas_fl.classes import VEGAS
from vegas_fl.importing.keys import KEYS, NODE_KEYS

DATASETS = {"vegas": "vegas", "esc50": "esc50", "vggsound": "vggsound"}
"""Its names of data sets, in lower case without punctuation, and ours."""

SIZES = {
    "flux": {"encoder": "ast", "adapter": "attention", "renderer": "flux_schnell"},
    "tiny": {"encoder": "yamnet", "adapter": "tiny", "renderer": "tiny"},
}
DEFAULT_SAMPLES = 200

Size = Literal["flux", "tiny"]
TextFlags = Literal["guide", "code"]


@dataclass
class Import:
    """The outcome.

    Attributes
    ----------
    groups : dict
        Choices of groups: data, aggregation, …
    values : dict
        Nested values of an experiment.
    taken, notes, unsupported, suspicious : list of str
        Sentences: what was taken over, what need not be said any more, what cannot be had, and what was
        (or looks) wrong in the file.
    """

    groups: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    suspicious: list[str] = field(default_factory=list)

    def put(self, key: str, value: Any, because: str) -> None:
        """Set ``a.b`` to ``value``, as ``because`` (its key there) said."""
        *path, last = key.split(".")
        place = self.values
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
        self.taken.append(f"{because} → {key}: {value}")


def translate(
    old: Mapping[str, Any],
    run: str,
    *,
    size: Size = "flux",
    text_flags: TextFlags = "guide",
    esc50_classes: Sequence[str] = (),
) -> Import:
    """Translate a configuration.

    Parameters
    ----------
    old : mapping
        What the file holds. Keys count whatever section they stand in; ``nodes`` is a section of its own.
    run : str
        Name of the run.
    size : {"flux", "tiny"}
        Which models: those it used, or the tiny pack's.
    text_flags : {"guide", "code"}
        What ``generate_from_…_text_embeddings`` means: true is "use this branch, fed by the adapter", false "do not
        use it" (its guide); or true is "feed the class prompt's own embedding", false "the adapter's" (its code).
    esc50_classes : sequence of str
        The fifty.
    """
    new = Import(groups=dict(SIZES[size]), values={"run": run})
    flat, nodes = _flattened(old)
    _sort(flat, KEYS, "", new)
    for node, entry in nodes.items():
        _sort(entry, NODE_KEYS, f"nodes.{node}.", new)
    _plain(flat, new, size)
    _stages(flat, new)
    _aggregation(flat, new)
    _conditioning(flat, new, text_flags)
    _nodes(flat, nodes, new, {"vegas": sorted(VEGAS), "esc50": sorted(esc50_classes)})
    _checkpoints(flat, run, new)
    if "num_clients" in flat and flat["num_clients"] != len(nodes):
        new.suspicious.append(f"num_clients is {flat['num_clients']}, but nodes has {len(nodes)}: {len(nodes)} it is")
    return new


def _flattened(old: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """All keys but the nodes', whatever section they stand in; and the nodes' entries."""
    flat: dict[str, Any] = {}
    nodes: dict[str, dict[str, Any]] = {}
    for key, value in old.items():
        if key == "nodes" and isinstance(value, dict):
            nodes = {str(node): dict(entry) for node, entry in value.items()}
        elif key == "nodes" and isinstance(value, list):
            nodes = {str(node): dict(entry) for node, entry in enumerate(value)}
        elif isinstance(value, dict):
            inner, more = _flattened(value)
            flat |= inner
            nodes |= more
        else:
            flat[key] = value
    return flat, nodes


def _sort(entry: Mapping[str, Any], known: Mapping[str, Any], prefix: str, new: Import) -> None:
    """Notes, unsupported and unknown keys."""
    for key in entry:
        what = known.get(key)
        if what is None:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}? It was ignored there" if close else "not a key that is known here"
            new.unsupported.append(f"{prefix}{key}: {hint}")
        elif what.fate == "unsupported":
            new.unsupported.append(f"{prefix}{key}: {what.text}")
        elif what.fate == "note":
            new.notes.append(f"{prefix}{key}: {what.text}")


PLAIN: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "global_rounds": ("rounds", int),
    "local_epochs": ("adapter.local_epochs", int),
    "eval_gap": ("evaluation.every", int),
    "seed": ("seed", int),
    "device": ("device", str),
    "batch_size": ("adapter.batch_size", int),
    "train_ratio": ("data.train_ratio", float),
    "val_ratio": ("data.val_ratio", float),
    "test_ratio": ("data.test_ratio", float),
    "node_split_seed": ("data.split_seed", int),
    "images_output_dir": ("images_output_dir", str),
    "generator_checkpoint_dir": ("generator.checkpoint_dir", str),
    "generator_training_epochs": ("generator.epochs", int),
    "generate_low_memomy_footprint": ("renderer.low_memory", bool),
}
"""Keys that only change their name."""


def _plain(flat: Mapping[str, Any], new: Import, size: Size) -> None:
    for key, (ours, convert) in PLAIN.items():
        if key in flat:
            new.put(ours, convert(flat[key]), key)
    if "generator_sequence_length" in flat:
        tokens = int(flat["generator_sequence_length"])
        if size == "tiny":
            new.notes.append(
                f"generator_sequence_length={tokens}: of AST's tokens; YAMNet keeps its own encoder.tokens"
            )
        elif tokens > 101 and tokens != 1214:
            new.unsupported.append(
                f"generator_sequence_length={tokens}: AST gives 1 to 101 tokens or all 1214; set encoder.tokens"
            )
        else:
            new.put("encoder.tokens", tokens, "generator_sequence_length")
    if flat.get("generator_granularity") in ("per_class", "perclass", "class"):
        new.notes.append("generator_granularity: a generator is trained for each class, as it asks")
    elif "generator_granularity" in flat:
        new.unsupported.append(
            f"generator_granularity={flat['generator_granularity']}: a generator is trained for each class"
        )
    if flat.get("use_folds") is not None:
        new.notes.append(f"use_folds={flat['use_folds']}: data.train_folds and data.test_folds say it by being there")
    for key, folds in _folds(flat).items():
        new.put(f"data.{key}", folds, key)


def _folds(entry: Mapping[str, Any]) -> dict[str, list[int]]:
    keys = ("train_folds", "test_folds") if entry.get("use_folds", True) else ()
    return {key: [int(fold) for fold in entry[key]] for key in keys if key in entry}


def _stages(flat: Mapping[str, Any], new: Import) -> None:
    trains_generators = bool(flat.get("generator_training_mode", False))
    adapters = bool(flat.get("global_model_train", True)) and not trains_generators
    images = bool(flat.get("generate_nodes_images_frequency") or flat.get("generate_global_images_frequency"))
    chosen = [("generators", trains_generators), ("adapters", adapters), ("images", images and not trains_generators)]
    stages = [name for name, wanted in chosen if wanted]
    if not stages:
        stages = ["adapters"]
        new.suspicious.append("it trains nothing and draws nothing: taken for a training of adapters")
    keys = [key for key in KEYS if key in flat and KEYS[key].to == "stages"]
    new.put("stages", stages, ", ".join(keys) or "(nothing said)")
    for key in ("generate_nodes_images_frequency", "generate_global_images_frequency"):
        if images and flat.get(key, 0) > 1:
            new.notes.append(
                f"{key}={flat[key]}: pictures are drawn once, after the last round; images.round chooses one"
            )
    if images:
        which = "global" if flat.get("generate_global_images_frequency") or not _alone(flat) else "local"
        new.put("images.adapters", which, "generate_global_images_frequency")


def _alone(flat: Mapping[str, Any]) -> bool:
    return str(flat.get("adapter_aggregation_mode", "none")).lower() == "none" and bool(
        flat.get("global_model_train", True)
    )


def _aggregation(flat: Mapping[str, Any], new: Import) -> None:
    mode = str(flat.get("adapter_aggregation_mode", "none")).lower()
    if flat.get("global_model_train_from_generator"):
        choice, because = "replay", "global_model_train_from_generator"
        if "adapter_aggregation_mode" in flat:
            new.notes.append(f"adapter_aggregation_mode={mode}: {because} comes before it")
    else:
        choice = {"none": "standalone", "avg": "fedavg", "kd": "kd"}.get(mode, "standalone")
        because = "adapter_aggregation_mode"
        if mode not in ("none", "avg", "kd"):
            new.suspicious.append(
                f"adapter_aggregation_mode={mode} is none of none, avg, kd; it was taken for none there"
            )
    if new.values["stages"] == ["images"] and choice == "standalone":
        choice = "kd"  # nothing is aggregated; only what would contradict images.adapters=global has to go
    new.groups["aggregation"] = choice
    new.taken.append(f"{because} → aggregation={choice}")
    if choice == "fedavg":
        new.put("aggregation.weighted", False, because)
    for key, ours in (
        ("kd_training_epochs", "epochs"),
        ("kd_learning_rate", "learning_rate"),
        ("kd_samples_per_class", "samples_per_class"),
    ):
        if key in flat and choice in ("kd", "replay"):
            new.put(f"aggregation.{ours}", flat[key], key)
        elif key in flat:
            new.notes.append(f"{key}: of no use with aggregation={choice}")
    if choice == "kd" and "kd_learning_rate" in flat:
        new.notes.append("kd_learning_rate was ignored there: results will differ; ours without it is 0.003")


def _conditioning(flat: Mapping[str, Any], new: Import, meaning: TextFlags) -> None:
    fed = {"guide": {True: "adapter", False: "none"}, "code": {True: "text", False: "adapter"}}[meaning]
    for branch in ("clip", "t5"):
        key = f"generate_from_{branch}_text_embeddings"
        if key in flat:
            new.put(f"conditioning.{branch}", fed[bool(flat[key])], key)
    if any(key.startswith("generate_from_") for key in flat):
        other = "code" if meaning == "guide" else "guide"
        new.notes.append(
            f"generate_from_…_text_embeddings are read as its {meaning} does; its {other} means something else: "
            f"--text-flags {other}"
        )


def _nodes(
    flat: Mapping[str, Any],
    nodes: Mapping[str, Mapping[str, Any]],
    new: Import,
    classes: Mapping[str, list[str]],
) -> None:
    named = {node: _dataset(entry.get("dataset", flat.get("dataset")), new) for node, entry in nodes.items()}
    most = max(dict.fromkeys(named.values()), key=list(named.values()).count, default="vegas")
    new.groups["data"] = most
    new.taken.append(f"dataset → data={most}; add data.root=FOLDER")
    if not nodes:
        new.suspicious.append(
            'there are no nodes; add them: nodes: {"0": {selected_classes: [dog], samples_per_node: 200}}'
        )
    # Its nodes' own settings of the split become the data group's, if all agree.
    for key in ("node_split_seed", "train_ratio", "val_ratio", "test_ratio"):
        said = {entry[key] for entry in nodes.values() if key in entry}
        if len(said) == 1:
            new.put(PLAIN[key][0], PLAIN[key][1](said.pop()), f"nodes.*.{key}")
        elif said:
            new.suspicious.append(
                f"nodes.*.{key} differ ({', '.join(map(str, sorted(said)))}): one is needed; set {PLAIN[key][0]}"
            )
    entries: dict[str, Any] = {}
    for position, (node, entry) in enumerate(nodes.items()):
        if node != str(position):
            new.suspicious.append(f"node {node!r} is number {position}: nodes are numbered 0, 1, … here")
        selected = _selected(node, entry, flat, classes.get(named[node], []), new)
        made: dict[str, Any] = {"selected_classes": selected}
        made["samples_per_node"] = _samples(node, entry, flat, len(selected), new)
        entries[str(position)] = made
        changes: dict[str, Any] = {"name": named[node], "root": None} if named[node] != most else {}
        changes |= _folds(entry)
        if changes:
            made["dataset"] = changes
            new.taken.append(f"nodes.{node}.dataset → {changes}" + ("; add its root" if "root" in changes else ""))
    new.values["nodes"] = entries
    _overlaps(nodes, entries, named, new)


def _dataset(name: Any, new: Import) -> str:
    if name is None:
        return "vegas"
    plain = re.sub(r"[^a-z0-9]", "", str(name).lower())
    if plain not in DATASETS:
        told = f"data set {name!r} is none of VEGAS, ESC50, VGGSound: taken for a folder per class (data=folder)"
        if told not in new.suspicious:
            new.suspicious.append(told)
    return DATASETS.get(plain, "folder")


def _selected(node: str, entry: Mapping[str, Any], flat: Mapping[str, Any], known: list[str], new: Import) -> list[str]:
    selected = entry.get("selected_classes", flat.get("selected_classes"))
    excluded = entry.get("excluded_classes") or flat.get("excluded_classes") or []
    if not selected:
        chosen = [name for name in known if name not in excluded]
        new.notes.append(f"nodes.{node} names no classes: all {len(chosen)} that are left are written out")
        return chosen or ["???"]
    selected = [str(name) for name in ([selected] if isinstance(selected, str) else selected)]
    for name in selected:
        if known and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            new.suspicious.append(
                f"nodes.{node}.selected_classes: there is no {name!r}; {hint}(there, it meant all classes)"
            )
    return [name for name in selected if name not in excluded]


def _samples(node: str, entry: Mapping[str, Any], flat: Mapping[str, Any], classes: int, new: Import) -> int:
    for source, prefix in ((entry, f"nodes.{node}."), (flat, "")):
        if "samples_per_node" in source:
            return int(source["samples_per_node"])
        if "num_samples_per_class" in source:
            new.taken.append(f"{prefix}num_samples_per_class for {classes} classes → nodes.{node}.samples_per_node")
            return int(source["num_samples_per_class"]) * classes
    new.notes.append(f"nodes.{node}.samples_per_node is not said: {DEFAULT_SAMPLES}")
    return DEFAULT_SAMPLES


def _overlaps(
    nodes: Mapping[str, Mapping[str, Any]], entries: Mapping[str, Any], named: Mapping[str, str], new: Import
) -> None:
    """Classes that several nodes hold, without its saying how they share them; or shares that nobody holds."""
    for (node, old), made in zip(nodes.items(), entries.values(), strict=True):
        for label in made["selected_classes"]:
            owners = [
                other
                for other, theirs in zip(nodes, entries.values(), strict=True)
                if label in theirs["selected_classes"] and named[other] == named[node]
            ]
            told = int(old.get("num_nodes", len(owners)))
            if told != len(owners):
                new.suspicious.append(
                    f"nodes.{node}.num_nodes is {told}, but {len(owners)} nodes hold {label}: they share all of it here"
                )
            if (
                len(owners) > 1
                and owners[0] == node
                and not any("num_nodes" in nodes[o] or "node_split_id" in nodes[o] for o in owners)
            ):
                new.suspicious.append(
                    f"nodes {', '.join(owners)} all hold all of {label} there: here they share its clips"
                )
            splits = [nodes[o].get("node_split_id") for o in owners if "node_split_id" in nodes[o]]
            if owners[0] == node and len(set(splits)) < len(splits):
                new.suspicious.append(
                    f"nodes {', '.join(owners)} have the same share of {label} (node_split_id): overlapping"
                )


def _checkpoints(flat: Mapping[str, Any], run: str, new: Import) -> None:
    """Folders of another run than this one."""
    if "adapter_checkpoint_dir" in flat:
        folder = str(flat["adapter_checkpoint_dir"])
        if new.values["stages"] == ["images"]:
            new.put("adapter.checkpoint_dir", folder, "adapter_checkpoint_dir")
        elif new.groups["aggregation"] == "kd" and flat.get("adapter_load_checkpoint"):
            new.put("adapter.local_checkpoint_dir", folder, "adapter_checkpoint_dir")
        else:
            new.put("adapter.checkpoint_dir", folder, "adapter_checkpoint_dir")
    shape = _shape(run)
    for key in ("generator_checkpoint_dir", "adapter_checkpoint_dir"):
        other = _shape(str(flat.get(key, "")))
        if shape and other and shape != other:
            new.suspicious.append(f"{key} is of {other}, but this is {shape}: another run's checkpoints")


def _shape(name: str) -> str | None:
    """Nodes, classes and samples in a name: "2n-2c-200s" of vegas_2n_2c_200s_kd."""
    found = re.search(r"(\d+n)[-_](\d+c)(?:[-_](\d+s))?", name)
    return "-".join(part for part in found.groups() if part) if found else None
