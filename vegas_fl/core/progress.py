"""How far a stage is: one bar on a terminal, elsewhere a line every ten seconds."""

import logging
import sys
import threading
import time
from typing import Any, ClassVar, Self

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

log = logging.getLogger("vegas_fl.progress")

EVERY = 10.0
"""Seconds between log lines when the output is not a terminal."""
LOGGERS = ("", "vegas_fl")
"""Loggers that may print: while a bar is shown, they print above it."""


class Progress:
    """A part of a stage, as a context manager.

    On a terminal, all parts of a stage in this process (the nodes of a simulation, also in several requests) share one
    bar, which is hidden while none is at work. Elsewhere a line is logged every :data:`EVERY` seconds, also while
    nothing moves.

    ``stage`` is as in "pictures", ``part`` says whose part of it ("node 0"), ``total`` and ``done`` count all units and
    those that were done before, and ``unit`` is one of what is counted.
    """

    _open: ClassVar["dict[str, tuple[tqdm[Any], dict[str, tuple[int, int]]]]"] = {}
    _last: ClassVar[float] = -EVERY
    """When the last line was logged, by any part."""
    _left: ClassVar[float] = -EVERY
    """When the last part ended."""

    def __init__(self, stage: str, part: str, total: int, unit: str, done: int = 0, show: bool = True) -> None:
        self.stage, self.part, self.total, self.unit, self.done = stage, part, total, unit, done
        self._terminal = show and sys.stderr.isatty()
        self._lines = show and not self._terminal
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        if self._terminal:
            if self.stage not in self._open:
                # miniters: or tqdm's own thread would show it again while it is hidden
                bar = tqdm(
                    total=self.total,
                    initial=self.done,
                    desc=self.stage,
                    unit=self.unit,
                    mininterval=0.5,
                    miniters=1,
                    leave=False,
                )
                self._open[self.stage] = bar, {}
            bar, parts = self._open[self.stage]
            done, total = parts.get(self.part, (0, 1))
            if done >= total:  # the next round, or run
                parts.clear()
                bar.reset()
            self._redirect = logging_redirect_tqdm([*filter(_prints, map(logging.getLogger, LOGGERS))])
            self._redirect.__enter__()
            self.add(0)
        elif self._lines:
            now = time.monotonic()
            if now - Progress._left > EVERY / 5:  # not one node after another, of which none may take that long
                Progress._last = now
            self._thread = threading.Thread(target=self._tell, daemon=True)
            self._thread.start()
        return self

    def add(self, count: int) -> None:
        """Count ``count`` more units."""
        self.done += count
        if self._terminal:
            bar, parts = self._open[self.stage]
            parts[self.part] = self.done, self.total
            bar.total = sum(total for _, total in parts.values())
            bar.n = sum(done for done, _ in parts.values())
            bar.refresh()

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._terminal:
            self._redirect.__exit__(None, None, None)
            self._open[self.stage][0].clear()
        elif self._lines:
            self._thread.join()
            Progress._left = time.monotonic()

    def _tell(self) -> None:
        begin = time.monotonic()
        while not self._stop.wait(max(0.01, Progress._last + EVERY - time.monotonic())):
            if (now := time.monotonic()) - Progress._last < EVERY:
                continue
            Progress._last = now
            seconds, units = now - begin, self.unit + ("es" if self.unit.endswith("s") else "s")
            log.info("%s, %s: %d of %d %s, %.0f s", self.stage, self.part, self.done, self.total, units, seconds)


def _prints(logger: logging.Logger) -> bool:
    return any(getattr(handler, "stream", None) in (sys.stdout, sys.stderr) for handler in logger.handlers)
