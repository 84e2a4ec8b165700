"""The replaced system's keys and what became of each, from ``keys.yaml``; their values, read as the type of the key."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from vegas_fl.migration.experiment import Import


def _no_flag(value: Any) -> Any:
    """Python takes true for 1."""
    if isinstance(value, bool):
        raise ValueError("true or false is not a number")
    return value


def _listed(value: Any) -> Any:
    """A single entry becomes a list."""
    return value if isinstance(value, list) else [value]


Whole = Annotated[int, BeforeValidator(_no_flag)]
Text = Annotated[str, BeforeValidator(str)]

KINDS: dict[str, tuple[str, TypeAdapter[Any]]] = {
    "": ("anything", TypeAdapter(Any)),
    "text": ("a text", TypeAdapter(Text)),
    "whole": ("a whole number", TypeAdapter(Whole)),
    "number": ("a number", TypeAdapter(Annotated[float, BeforeValidator(_no_flag)])),
    "flag": ("true or false", TypeAdapter(bool)),
    "classes": ("a list of classes", TypeAdapter(Annotated[list[Text], BeforeValidator(_listed)])),
    "folds": ("a list of folds", TypeAdapter(Annotated[list[Whole], BeforeValidator(_listed)])),
}
"""What the value of a key has to be, in words, and how it is read: 200, 200.0 and "200" are the same number."""


@dataclass(frozen=True)
class Key:
    """What became of a key: ``to`` takes its value (renamed) or says the same (mapped), nothing has to be said any more
    (note), or no counterpart exists."""

    fate: Literal["renamed", "mapped", "note", "unsupported"]
    to: str  # our key or keys, or ""
    text: str  # what else to know
    kind: str  # what its value has to be, a key of KINDS, or ""


def _key(row: dict[str, str]) -> Key:
    text, kind = row.get("text", ""), row.get("kind", "")
    if "renamed" in row:
        return Key("renamed", row["renamed"], text, kind)
    if "to" in row:
        return Key("mapped", row["to"], text, kind)
    return Key("note", "", row["note"], kind) if "note" in row else Key("unsupported", "", row["unsupported"], kind)


_ROWS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf8"))

NODE_KEYS = {name: _key(row) for name, row in _ROWS["nodes"].items()}
"""Keys of an entry of ``nodes``; those about data may be at the top as well."""
KEYS = {name: _key(row) for name, row in _ROWS["top"].items()} | {
    name: key for name, key in NODE_KEYS.items() if key.to.startswith("data.") or name.startswith("num_samples")
}
"""Keys at the top, in any section."""


def read(entry: Mapping[str, Any], keys: Mapping[str, Key], prefix: str, new: Import) -> dict[str, Any]:
    """The entry with its values as their ``keys`` expect them; those of another type are reported and left out, and
    ``null`` counts as not set."""
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if value is None:
            new.notes.append(f"{prefix}{key}: null counts as not set")
            continue
        expected, kind = KINDS[keys[key].kind if key in keys else ""]
        try:
            values[key] = kind.validate_python(value)
        except ValidationError:
            new.suspicious.append(f"{prefix}{key} is {value!r}, expected {expected}: left out")
    return values
