"""Mistakes of a configuration, as sentences."""

from __future__ import annotations

import copy
import difflib
import typing
from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

from vegas_fl.config.sections import DataConfig, NodeConfig
from vegas_fl.config.whole import Config
from vegas_fl.core.errors import VegasError

TAGS = ("vae", "gmm", "mlp", "kd", "replay", "fedavg", "standalone", "inprocess", "flower")
"""Names that choose between sections of different keys; pydantic puts them into the places of its errors."""


class ConfigError(VegasError):
    """The configuration cannot be run; ``mistakes`` has a sentence for each reason.

    ``config`` is what is left of it without unknown keys, if that is well-formed: other checks can go on.
    """

    exit_code = 2

    def __init__(self, mistakes: Sequence[str], config: Config | None = None) -> None:
        self.mistakes, self.config = tuple(mistakes), config
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__(
            f"The configuration has {count}; nothing was started.\n" + "\n".join(f"- {m}" for m in self.mistakes)
        )


def sentence(error: ErrorDetails, values: dict[str, Any]) -> str:
    """One pydantic error as: key, what was seen, what is needed."""
    loc = [str(part) for part in error["loc"] if part not in TAGS]
    key = ".".join(loc)
    if error["type"] == "extra_forbidden":
        known = _known_keys(loc[:-1])
        close = difflib.get_close_matches(loc[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"there is: {', '.join(known)}"
        return f"{key}: there is no such key; {hint}"
    if error["type"] == "missing" or error.get("input") == "???":
        return f"{key}: required, but not set; add {key}=…"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}; got {error['input']!r}"


def _known_keys(loc: Sequence[str]) -> list[str]:
    """The keys that exist at a place of the configuration."""
    model: Any = Config
    parts = iter(loc)
    for part in parts:
        annotation = model.model_fields[part].annotation
        if part == "nodes":
            next(parts)  # the node's number
            model = NodeConfig
        elif part == "dataset":
            model = DataConfig
        elif typing.get_origin(annotation) is not None:
            return sorted({key for option in typing.get_args(annotation) for key in option.model_fields})
        else:
            model = annotation
    return list(model.model_fields)


def without(values: dict[str, Any], locations: Sequence[tuple[int | str, ...]]) -> dict[str, Any]:
    """A copy of ``values`` with the entries at ``locations`` left out."""
    values = copy.deepcopy(values)
    for loc in locations:
        place: Any = values
        for part in loc[:-1]:
            # A discriminated union puts its tag into the location; it is no key.
            place = place.get(part, place)
        place.pop(loc[-1], None)
    return values
