"""The one exception a user is meant to read."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class VegasError(Exception):
    """A mistake in the input, told in sentences: what was seen, what is needed, what to do.

    The command line prints its text without a traceback and exits with ``exit_code``; a node that raises it
    answers the server with the text instead of dying.
    """

    exit_code = 1


class OtherLayout(VegasError):
    """A folder does not have the layout of the data set it is said to hold; the text completes "FOLDER …"."""


class AboutRecordings(VegasError):
    """A mistake of recordings, told with their names: a node of a deployment keeps these to itself."""


def some(names: Sequence[str], shown: int = 5) -> str:
    """The first of many names, and how many more there are: "a, b and 7 more"."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def explained(error: ValidationError) -> str:
    """The first mistakes of a failed validation: where, what was expected, what was seen."""
    details = []
    for one in error.errors(include_url=False):
        place = ".".join(str(part)[:64] for part in one["loc"])
        details.append(f"{place}: {one['msg'][:1].lower()}{one['msg'][1:]}, got {reprlib.repr(one['input'])}")
    return "; ".join(details[:3]) + (f"; and {len(details) - 3} more" if len(details) > 3 else "")
