"""Values of a JSON configuration as what their keys need: a value that is something else is told and left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vegas_fl.migration.outcome import Import


def whole(value: Any) -> int:
    """200, 200.0 or "200"."""
    number = float(value)
    if isinstance(value, bool) or number != int(number):
        raise ValueError
    return int(number)


def real(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    return float(value)


def flag(value: Any) -> bool:
    """True, 1 or "true"; "false" is a text, and yet no."""
    known = {"true": True, "1": True, "false": False, "0": False}
    return known[str(value).lower()]


def names(value: Any) -> list[str]:
    """Classes; one by itself is a list of one."""
    if not isinstance(value, str | list):
        raise TypeError
    return [value] if isinstance(value, str) else [str(name) for name in value]


def wholes(value: Any) -> list[int]:
    """Folds; one by itself is a list of one."""
    return [whole(entry) for entry in (value if isinstance(value, list) else [value])]


KINDS: tuple[tuple[str, Callable[[Any], Any], str], ...] = (
    (
        "a whole number",
        whole,
        "num_clients global_rounds local_epochs eval_gap seed batch_size node_split_seed num_nodes",
    ),
    ("a whole number", whole, "node_split_id samples_per_node num_samples_per_class generator_sequence_length"),
    ("a whole number", whole, "generator_training_epochs kd_training_epochs kd_samples_per_class"),
    ("a whole number", whole, "global_model_train_epochs generate_nodes_images_frequency"),
    ("a whole number", whole, "generate_global_images_frequency"),
    (
        "a number",
        real,
        "train_ratio val_ratio test_ratio kd_learning_rate adapters_learning_rate adapters_weight_decay",
    ),
    ("a number", real, "clip_adapter_learning_rate t5_adapter_learning_rate clip_adapter_weight_decay"),
    ("a number", real, "t5_adapter_weight_decay"),
    ("true or false", flag, "use_generator generator_only_mode use_pretrained_generators generator_training_mode"),
    ("true or false", flag, "global_model_train global_model_train_from_generator generate_low_memomy_footprint"),
    ("true or false", flag, "generate_from_clip_text_embeddings generate_from_t5_text_embeddings cls_token_only"),
    ("true or false", flag, "generate_embeddings_only generator_load_checkpoint adapter_load_checkpoint use_folds"),
    ("a list of classes", names, "selected_classes excluded_classes"),
    ("a list of folds", wholes, "train_folds test_folds"),
)
"""What is needed, how it is read, and by which keys."""

NEEDS = {key: (needed, read) for needed, read, keys in KINDS for key in keys.split()}


def read(entry: Mapping[str, Any], prefix: str, new: Import) -> dict[str, Any]:
    """The entry with its values as their keys need them. ``null`` is as if the key were not there."""
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if value is None:
            new.notes.append(f"{prefix}{key}: null, as if it were not there")
            continue
        needed, convert = NEEDS.get(key, ("", lambda value: value))
        try:
            values[key] = convert(value)
        except (ValueError, TypeError, KeyError, OverflowError):
            new.suspicious.append(f"{prefix}{key} is {value!r}, needed is {needed}: left out")
    return values
