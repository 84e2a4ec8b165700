"""Mistakes in a configuration, as sentences."""

import copy
import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from vegas_fl.config.whole import Config
from vegas_fl.core.errors import VegasError

UNIONS = ("generator", "aggregation", "engine")
"""Sections whose keys depend on their name, which pydantic adds to the locations of its errors."""


class ConfigError(VegasError):
    """The configuration is invalid; ``mistakes`` has a sentence for each reason.

    ``config`` is the configuration without its unknown keys, if that is valid, so that other checks can continue.
    """

    exit_code = 2

    def __init__(self, mistakes: Sequence[str], config: Config | None = None) -> None:
        self.mistakes, self.config = tuple(mistakes), config
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__(
            f"The configuration has {count}; nothing was started.\n" + "\n".join(f"- {m}" for m in self.mistakes)
        )


def sentence(error: ErrorDetails, values: dict[str, Any]) -> str:
    """One pydantic error as a sentence: the key, what was expected, what was found."""
    loc = _place(error)
    key = ".".join(loc)
    if error["type"] == "extra_forbidden":
        options = _options(loc[0]) if loc[0] in UNIONS else {}
        if users := [f"{loc[0]}={name}" for name, option in options.items() if loc[-1] in option.model_fields]:
            return not_used(key, f"{loc[0]}={values[loc[0]]['name']}", " or ".join(users))
        models = [options[values[loc[0]]["name"]]] if options else types_at(Config, loc[:-1])
        known = [key for model in models for key in getattr(model, "model_fields", ())]
        close = difflib.get_close_matches(loc[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"expected one of: {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    if error["type"] == "missing" or error.get("input") == "???":
        return f"{key}: required but not set; add {key}=…"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}; got {error['input']!r}"


def not_used(key: str, chosen: str, user: str) -> str:
    """What is said of a key that has no effect."""
    return f"{key} has no effect: {chosen} does not use it, {user} does; leave it out, or choose what uses it"


def _place(error: ErrorDetails) -> list[str]:
    """The keys that lead to an error."""
    loc = [str(part) for part in error["loc"]]
    return loc[:1] + loc[2:] if loc[:1] and loc[0] in UNIONS else loc


def _options(section: str) -> dict[str, type[BaseModel]]:
    """The sections that a name chooses from."""
    models = typing.get_args(Config.model_fields[section].annotation)
    return {typing.get_args(model.model_fields["name"].annotation)[0]: model for model in models}


def reported(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """The errors without those that follow from others: a list whose entries are wrong is not also too short."""
    places = [tuple(error["loc"]) for error in errors]
    return [
        error
        for error, place in zip(errors, places, strict=True)
        if error["type"] != "too_short" or not any(len(p) > len(place) and p[: len(place)] == place for p in places)
    ]


def types_at(annotation: Any, parts: Sequence[str]) -> Iterator[Any]:
    """The types at a place of the configuration."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from types_at(inner[0], parts)
    elif origin in (typing.Union, types.UnionType):
        for option in inner:
            yield from types_at(option, parts)
    elif not parts:
        yield annotation
    elif origin is dict:
        yield from types_at(inner[1], parts[1:])
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and parts[0] in annotation.model_fields:
        yield from types_at(annotation.model_fields[parts[0]].annotation, parts[1:])


def without(values: dict[str, Any], errors: Sequence[ErrorDetails]) -> dict[str, Any]:
    """A copy of ``values`` without the entries that ``errors`` are about."""
    values = copy.deepcopy(values)
    for error in errors:
        *above, last = _place(error)
        place: Any = values
        for part in above:
            place = place[part]
        place.pop(last, None)
    return values
