"""What a run leaves behind beside its pictures: ``runs/<run>/`` with

| file | holds |
|---|---|
| ``config.yaml`` | the resolved configuration |
| ``metrics.jsonl`` | a line whenever something was measured |
| ``checkpoints.json`` | the checkpoint files the run wrote |
| ``report.html`` | the page of all that |
| ``tensorboard/<attempt>/`` | the measurements, for TensorBoard |
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from strategies.tracking import Trackers
from vegas_fl.checkpoints import listing
from vegas_fl.config import Config
from vegas_fl.report import table
from vegas_fl.report.read import read
from vegas_fl.tensorfiles import write_atomically

log = logging.getLogger("vegas_fl.server")

DRAWING_SHARE = 10
"""While a run goes on, its page is drawn again only after this many times as long as drawing takes."""
FIRST_PAGE = 5.0
"""Seconds from a run's start to its first page; a shorter run has one at its end."""


class Record:
    """The folder of a run. Its steps, and repetitions of them, add to the same metrics.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = Path(config.paths.runs) / config.run
        self._metrics = self.folder / "metrics.jsonl"
        self._lines = self._metrics.read_text("utf8", errors="replace").splitlines() if self._metrics.exists() else []
        text = OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))
        write_atomically(self.folder / "config.yaml", text.encode())
        attempt = 1 + sum('"stage": "start"' in line for line in self._lines)
        self._trackers = Trackers(config, self.folder, attempt)
        self._drawing = 0.0
        """Seconds spent on drawing the page."""
        self._next_page = time.monotonic() + FIRST_PAGE
        self.add(stage="start", stages=config.stages, seed=config.seed, aggregation=config.aggregation.name)

    @contextlib.contextmanager
    def to_the_end(self) -> Iterator[None]:
        """The rest of the run: however it ends, that is recorded, and the page is drawn."""
        start, problem = time.monotonic(), "it was interrupted"
        try:
            yield
            problem = ""
        except Exception as error:
            problem = str(error) or type(error).__name__
            raise
        finally:
            seconds = round(time.monotonic() - start, 3)
            self.add(stage="end", seconds=seconds, **({"problem": problem} if problem else {}))
            self._trackers.close()
            self.page(now=True)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the run; drawing the page does not count."""
        start, drawing = time.monotonic(), self._drawing
        yield
        seconds = time.monotonic() - start - (self._drawing - drawing)
        log.info("%s took %.1f s", name, seconds)
        self.add(stage=name, seconds=round(seconds, 3))
        self.page()

    def add(self, **values: Any) -> None:
        """Append one line of metrics."""
        self.add_all([values])

    def add_all(self, lines: list[dict[str, Any]]) -> None:
        """Append lines of metrics, with one time."""
        now = round(time.time(), 3)
        lines = [{"time": now, **values} for values in lines]
        self._lines += [json.dumps(line) for line in lines]
        write_atomically(self._metrics, ("\n".join(self._lines) + "\n").encode())
        self._trackers.add(lines)

    def page(self, now: bool = False) -> None:
        """Write the list of checkpoints and the page; not ``now``, only if the last one was some time ago.

        A page that cannot be drawn is told in a sentence and does not hurt the run.
        """
        start = time.monotonic()
        if not now and start < self._next_page:
            return
        try:
            from vegas_fl.report import page

            checkpoints = json.dumps(listing(self.config, self.folder / "checkpoints.json"), indent=1)
            write_atomically(self.folder / "checkpoints.json", checkpoints.encode())
            page.write(self.folder)
        except Exception as error:
            log.warning("the report of run %s was not written: %s", self.config.run, error)
        spent = time.monotonic() - start
        self._drawing += spent
        self._next_page = time.monotonic() + DRAWING_SHARE * spent

    def results(self) -> list[str]:
        """The run's results as lines of text."""
        try:
            return table.lines([read(self.folder)])
        except Exception as error:
            return [f"the results of run {self.config.run} cannot be read: {error}"]
