"""The exception whose text is written for users."""

import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

from vegas_fl.core.names import printable


class VegasError(Exception):
    """A mistake in the input. Its text says what was found, what was expected and what to do.

    The command line prints the text without a traceback and exits with ``exit_code``. A node sends it to the server
    and continues.
    """

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class OtherLayout(VegasError):
    """A folder does not have the layout of the data set it is said to hold; the text completes "FOLDER …"."""


class AboutRecordings(VegasError):
    """A mistake in recordings. Its text names them, so a deployed node does not send it to the server."""


def shortened(value: object, most: int = 200) -> str:
    """A value of a file in a message: as Python writes it, in its beginning and end if it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 20]}…{text[-19:]}"


def some(names: Sequence[str], shown: int = 5) -> str:
    """A list of names, shortened: "a, b and 7 more"."""
    listed = ", ".join(name if len(name) <= 500 else f"{name[:500]}…" for name in names[:shown])
    return listed + (f" and {len(names) - shown} more" if len(names) > shown else "")


def explained(error: "ValidationError") -> str:
    """The first mistakes of a failed validation: where, what was expected, what was seen."""
    details = []
    for one in error.errors(include_url=False):
        place = ".".join(str(part)[:64] for part in one["loc"])
        details.append(f"{place}: {one['msg'][:1].lower()}{one['msg'][1:]}, got {reprlib.repr(one['input'])}")
    return "; ".join(details[:3]) + (f"; and {len(details) - 3} more" if len(details) > 3 else "")
