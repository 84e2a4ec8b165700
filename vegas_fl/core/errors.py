"""The exception whose text is written for users."""

from __future__ import annotations

from collections.abc import Sequence


class VegasError(Exception):
    """A mistake in the input. Its text says what was found, what was expected and what to do.

    The command line prints the text without a traceback and exits with 1. A node sends it to the server and
    continues.
    """


class AboutRecordings(VegasError):
    """A mistake in recordings. Its text names them, so a deployed node does not send it to the server."""


def some(names: Sequence[str], shown: int = 5) -> str:
    """A list of names, shortened: "a, b and 7 more"."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
