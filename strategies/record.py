"""What a run leaves behind beside its checkpoints: ``runs/<run>/config.yaml`` and ``metrics.jsonl``."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vegas_fl.config import Config
from vegas_fl.tensorfiles import write_atomically

log = logging.getLogger("vegas_fl.server")


class Record:
    """The folder of a run. Its steps, and repetitions of them, add to the same metrics.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config) -> None:
        self.folder = Path(config.paths.runs) / config.run
        self._metrics = self.folder / "metrics.jsonl"
        self._lines = self._metrics.read_text("utf8").splitlines() if self._metrics.exists() else []
        text = OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))
        write_atomically(self.folder / "config.yaml", text.encode())
        self.add(stage="start", stages=config.stages, seed=config.seed, aggregation=config.aggregation.name)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the run."""
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        log.info("%s took %.1f s", name, seconds)
        self.add(stage=name, seconds=round(seconds, 3))

    def add(self, **values: Any) -> None:
        """Append one line of metrics."""
        self._lines.append(json.dumps({"time": round(time.time(), 3), **values}))
        write_atomically(self._metrics, ("\n".join(self._lines) + "\n").encode())
