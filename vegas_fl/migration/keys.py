"""The replaced system's keys and what became of each, from ``keys.yaml``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml


@dataclass(frozen=True)
class Key:
    """What became of a key: ``to`` takes its value (renamed) or says the same (mapped), nothing has to be said any more
    (note), or no counterpart exists."""

    fate: Literal["renamed", "mapped", "note", "unsupported"]
    to: str  # our key or keys, or ""
    text: str  # what else to know
    kind: str  # what its value has to be, a key of values.KINDS, or ""


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
