"""How far the nodes are with their pictures, as lines of the server's log."""

import logging
import time
from collections.abc import Iterable

from vegas_fl.core.errors import some
from vegas_fl.federation.messages import Pictures

log = logging.getLogger("vegas_fl.server")

QUIET = 8.0
"""Seconds without a line after which the last known state is logged again: with the longest pause between two polls
(``exchange.LAST_PAUSE``), lines are at most ten seconds apart."""


class PictureProgress:
    """What the nodes reported of their pictures.

    A node that answers in parts says how far it is; between two answers, while models are loaded or a process is
    started, its last answer is logged again, with its age.

    Parameters
    ----------
    nodes : iterable of str

    Attributes
    ----------
    rendered : dict
        Node → pictures it has rendered for this request.
    """

    def __init__(self, nodes: Iterable[str]) -> None:
        self.rendered = dict.fromkeys(nodes, 0)
        self._left: dict[str, int] = {}
        self._begin = self._line = time.monotonic()
        self._first: dict[str, tuple[float, int]] = {}
        self._open: dict[str, tuple[float, str]] = {node: (self._begin, "was asked") for node in self.rendered}

    def answer(self, node: str, values: Pictures) -> None:
        """Count an answer, and log it if pictures are missing."""
        self.rendered[node] += values.rendered
        self._left[node] = values.missing
        if not values.missing:
            self._open.pop(node, None)
            return
        now = time.monotonic()
        self._open[node] = (now, f"had {values.pictures - values.missing} of {values.pictures}")
        # Of the first answer only rendering counts, not that FLUX was loaded; after it, all time does.
        first = self._first.setdefault(node, (now, self.rendered[node]))
        new, seconds = self.rendered[node] - first[1], now - first[0]
        rate = new / max(seconds, 1e-3) if new else values.rendered / max(values.seconds, 1e-3)
        log.info("%s", progress_line(f"node {node}", values, rate))
        self._line = now

    def stalled(self, node: str, values: Pictures) -> str | None:
        """Why an answer does not bring a node nearer to its end; None if it does."""
        left = self._left.get(node, values.missing + 1)
        if values.missing < left:
            return None
        return f"makes no progress: {left} pictures were missing when it answered last, {values.missing} are now"

    def idle(self) -> None:
        """Log the last answers again, if nothing was logged for a while."""
        now = time.monotonic()
        if now - self._line < QUIET or not self._open:
            return
        last = [f"node {node} {what} ({now - when:.0f} s ago)" for node, (when, what) in self._open.items()]
        log.info("pictures: last reports: %s", some(last))
        self._line = now


def progress_line(name: str, values: Pictures, rate: float) -> str:
    """How far a folder is, pictures a second, and the time that is left."""
    left = values.missing / rate
    minutes = f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
    there = values.pictures - values.missing
    return f"{name}: {there} of {values.pictures} pictures, {rate:.2g} a second, about {minutes} left"
