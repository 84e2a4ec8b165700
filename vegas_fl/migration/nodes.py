"""The entries of ``nodes`` of a JSON configuration: data sets, classes, samples, and overlaps."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from vegas_fl.migration.experiment import Import, once
from vegas_fl.migration.keys import NODE_KEYS

DATASETS = {"vegas": "vegas", "esc50": "esc50", "vggsound": "vggsound"}
"""The replaced system's names of data sets, in lower case without punctuation, and ours."""

DEFAULT_SAMPLES = 200

GRANULARITY = {
    **dict.fromkeys(("per_class", "perclass", "class"), "class"),
    **dict.fromkeys(("per_group", "pergroup", "group"), "group"),
    **dict.fromkeys(("unified", "all", "single"), "node"),
}
"""The replaced system's values of generator_granularity, and ours."""


def nodes_of(
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
            'no nodes found; add them: nodes: {"0": {selected_classes: [dog], samples_per_node: 200}}'
        )
    # The nodes' own settings of the split become those of the data group, if all agree.
    for key in ("node_split_seed", "train_ratio", "val_ratio", "test_ratio"):
        said = {entry[key] for entry in nodes.values() if key in entry}
        if len(said) == 1:
            new.put(NODE_KEYS[key].to, said.pop(), f"nodes.*.{key}")
        elif said:
            new.suspicious.append(
                f"nodes.*.{key} differ ({', '.join(map(str, sorted(said)))}): set {NODE_KEYS[key].to} to one value"
            )
    entries: dict[str, Any] = {}
    for position, (node, entry) in enumerate(nodes.items()):
        if node != str(position):
            new.suspicious.append(f"node {node!r} becomes node {position}: nodes are numbered 0, 1, … here")
        selected = _selected(node, entry, flat, classes.get(named[node], []), new)
        made: dict[str, Any] = {"selected_classes": selected}
        made["samples_per_node"] = _samples(node, entry, flat, len(selected), new)
        entries[str(position)] = made
        changes: dict[str, Any] = {"name": named[node], "root": None} if named[node] != most else {}
        changes |= folds(entry, new)
        if own := granularity(entry, f"nodes.{node}.", new):
            made["generator"] = own
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
        expected = "expected VEGAS, ESC50 or VGGSound"
        once(new.suspicious, f"unknown data set {name!r}, {expected}: taken as a folder per class (data=folder)")
    return DATASETS.get(plain, "folder")


def _selected(node: str, entry: Mapping[str, Any], flat: Mapping[str, Any], known: list[str], new: Import) -> list[str]:
    selected = entry.get("selected_classes", flat.get("selected_classes"))
    excluded = entry.get("excluded_classes") or flat.get("excluded_classes") or []
    if not selected:
        chosen = [name for name in known if name not in excluded]
        new.notes.append(f"nodes.{node} selects no classes: all {len(chosen)} remaining ones are written out")
        return chosen or ["???"]
    selected = [str(name) for name in ([selected] if isinstance(selected, str) else selected)]
    for name in selected:
        if known and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            new.suspicious.append(
                f"nodes.{node}.selected_classes: unknown class {name!r}; {hint}(the replaced system took all classes)"
            )
    return [name for name in selected if name not in excluded]


def _samples(node: str, entry: Mapping[str, Any], flat: Mapping[str, Any], classes: int, new: Import) -> int:
    for source, prefix in ((entry, f"nodes.{node}."), (flat, "")):
        if "samples_per_node" in source:
            if classes > 1:
                new.notes.append(
                    f"{prefix}samples_per_node={source['samples_per_node']}: over all {classes} classes together; if "
                    f"it was meant per class, set it to {source['samples_per_node'] * classes}"
                )
            return int(source["samples_per_node"])
        if "num_samples_per_class" in source:
            new.taken.append(f"{prefix}num_samples_per_class for {classes} classes → nodes.{node}.samples_per_node")
            return int(source["num_samples_per_class"]) * classes
    new.notes.append(f"nodes.{node}.samples_per_node is not set: {DEFAULT_SAMPLES}")
    return DEFAULT_SAMPLES


def _overlaps(
    nodes: Mapping[str, Mapping[str, Any]], entries: Mapping[str, Any], named: Mapping[str, str], new: Import
) -> None:
    """Report classes of several nodes that do not say how they share them, and shares that no node holds."""
    for (node, old), made in zip(nodes.items(), entries.values(), strict=True):
        for label in made["selected_classes"]:
            owners = [
                other
                for other, theirs in zip(nodes, entries.values(), strict=True)
                if label in theirs["selected_classes"] and named[other] == named[node]
            ]
            stated = old.get("num_nodes", len(owners))
            if stated != len(owners):
                new.suspicious.append(
                    f"nodes.{node}.num_nodes is {stated}, but the number of nodes with {label} is {len(owners)}: "
                    "they share all its clips here"
                )
            if (
                len(owners) > 1
                and owners[0] == node
                and not any("num_nodes" in nodes[o] or "node_split_id" in nodes[o] for o in owners)
            ):
                new.suspicious.append(f"nodes {', '.join(owners)} all had all clips of {label}: here they share them")
            splits = [nodes[o].get("node_split_id") for o in owners if "node_split_id" in nodes[o]]
            if owners[0] == node and len(set(splits)) < len(splits):
                new.suspicious.append(
                    f"nodes {', '.join(owners)} overlap: they have the same share of {label} (node_split_id)"
                )


def granularity(entry: Mapping[str, Any], prefix: str, new: Import) -> dict[str, Any]:
    """Which classes share a generator, and which are trained: keys of ``generator``, or of a node's."""
    found: dict[str, Any] = {}
    if "generator_granularity" in entry:
        old = str(entry["generator_granularity"]).lower()
        if old in GRANULARITY:
            found["granularity"] = GRANULARITY[old]
        else:
            new.suspicious.append(
                f"{prefix}generator_granularity is {old}, expected per_class, per_group or unified: per_class is used"
            )
    if "generator_class_group" in entry:
        groups = entry["generator_class_group"]
        if isinstance(groups, list):
            groups = {
                f"group_{i}": g for i, g in enumerate(groups if groups and isinstance(groups[0], list) else [groups])
            }
        if isinstance(groups, dict) and all(isinstance(names, list) for names in groups.values()):
            found["groups"] = {str(name): [str(label) for label in names] for name, names in groups.items()}
        else:
            new.suspicious.append(
                f"{prefix}generator_class_group is {groups!r}, expected names of groups with lists of classes: left out"
            )
    if "generator_train_classes" in entry:
        found["train_classes"] = entry["generator_train_classes"]
    if found:
        new.taken.append(f"{', '.join(key for key in entry if key in GROUPING)} → {prefix}generator: {found}")
    return found


GROUPING = ("generator_granularity", "generator_class_group", "generator_train_classes")


def folds(entry: Mapping[str, Any], new: Import) -> dict[str, list[int]]:
    """Folds for training and for testing, counted from 1 as in ESC-50."""
    keys = ("train_folds", "test_folds") if entry.get("use_folds", True) else ()
    if entry.get("use_folds") and not any(key in entry for key in keys):
        once(new.suspicious, "use_folds without train_folds or test_folds: split by ratios here; set them in data")
    found = {key: entry[key] for key in keys if key in entry}
    if any(0 in chosen for chosen in found.values()):
        once(new.notes, "folds were counted from 0: each is one more here")
        return {key: [fold + 1 for fold in chosen] for key, chosen in found.items()}
    return found
