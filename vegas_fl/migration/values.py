"""Values of a JSON configuration, read as the type of their key; a value of another type is reported and left out."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from vegas_fl.migration.keys import Key
from vegas_fl.migration.outcome import Import


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


def read(entry: Mapping[str, Any], keys: Mapping[str, Key], prefix: str, new: Import) -> dict[str, Any]:
    """The entry with its values as their ``keys`` expect them; ``null`` counts as not set."""
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
