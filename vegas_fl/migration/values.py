"""Values of a JSON configuration, read as the type of their key; a value of another type is reported and left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vegas_fl.migration.keys import Key
from vegas_fl.migration.outcome import Import


def whole(value: Any) -> int:
    """200, 200.0 or "200"."""
    number = real(value)
    if number != int(number):
        raise ValueError
    return int(number)


def real(value: Any) -> float:
    """0.5 or "0.5", but not true."""
    if isinstance(value, bool):
        raise ValueError
    return float(value)


def flag(value: Any) -> bool:
    """True, 1 or "true"; "false" is false, although Python takes it for true."""
    known = {"true": True, "1": True, "false": False, "0": False}
    return known[str(value).lower()]


def names(value: Any) -> list[str]:
    """Classes; a single one becomes a list."""
    if not isinstance(value, str | list):
        raise TypeError
    return [value] if isinstance(value, str) else [str(name) for name in value]


def wholes(value: Any) -> list[int]:
    """Folds; a single one becomes a list."""
    return [whole(entry) for entry in (value if isinstance(value, list) else [value])]


KINDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "": ("anything", lambda value: value),
    "text": ("a text", str),
    "whole": ("a whole number", whole),
    "number": ("a number", real),
    "flag": ("true or false", flag),
    "classes": ("a list of classes", names),
    "folds": ("a list of folds", wholes),
}
"""What the value of a key has to be, in words, and how it is read."""


def read(entry: Mapping[str, Any], keys: Mapping[str, Key], prefix: str, new: Import) -> dict[str, Any]:
    """The entry with its values as their ``keys`` expect them; ``null`` counts as not set."""
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if value is None:
            new.notes.append(f"{prefix}{key}: null counts as not set")
            continue
        expected, convert = KINDS[keys[key].kind if key in keys else ""]
        try:
            values[key] = convert(value)
        except (ValueError, TypeError, KeyError, OverflowError):
            new.suspicious.append(f"{prefix}{key} is {value!r}, expected {expected}: left out")
    return values
