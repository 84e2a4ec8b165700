"""Values as no program of ours writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

ODD: list[Any] = [None, True, -1, 1e400, 10**400, "", "../../x", [], [[]], {}, {"a": [None]}, "\x00", [1, "a"]]
"""Values that are not what an entry should be."""


def changed(value: Any) -> Iterator[Any]:
    """``value`` with each of its entries, at any depth, left out or replaced by something odd."""
    yield from ODD
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(entries):
        for other in changed(inner):
            copy = json.loads(json.dumps(value))
            copy[key] = other
            yield copy
        if isinstance(value, dict):
            yield {k: v for k, v in value.items() if k != key}
