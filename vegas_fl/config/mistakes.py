"""Mistakes in a configuration, as sentences."""

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
"""Tags of discriminated unions, which pydantic adds to the locations of its errors."""


class ConfigError(VegasError):
    """The configuration is invalid; ``mistakes`` has a sentence for each reason.

    ``config`` is the configuration without its unknown keys, if that is valid, so that other checks can continue.
    """

    def __init__(self, mistakes: Sequence[str], config: Config | None = None) -> None:
        self.mistakes, self.config = tuple(mistakes), config
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__(
            f"The configuration has {count}; nothing was started.\n" + "\n".join(f"- {m}" for m in self.mistakes)
        )


def sentence(error: ErrorDetails, values: dict[str, Any]) -> str:
    """One pydantic error as a sentence: the key, what was expected, what was found."""
    loc = [str(part) for part in error["loc"] if part not in TAGS]
    key = ".".join(loc)
    if error["type"] == "extra_forbidden":
        known = _known_keys(loc[:-1])
        close = difflib.get_close_matches(loc[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"expected one of: {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    if error["type"] == "missing" or error.get("input") == "???":
        return f"{key}: required but not set; add {key}=…"
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
            # The tag of a discriminated union is part of the location, but not a key.
            place = place.get(part, place)
        place.pop(loc[-1], None)
    return values
