"""Measurements for TensorBoard, and for Weights & Biases if ``tracking.wandb`` names a project."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Protocol

from vegas_fl.config import Config

log = logging.getLogger("vegas_fl.server")

WHOSE = ("adapter", "branch", "message", "label", "node")
"""Entries of a line that say whose its figures are; they become part of a scalar's name."""


class Tracker(Protocol):
    """Takes scalars by name, at a round or at none."""

    def scalars(self, values: dict[str, float], round_: int | None) -> None:
        """Take them."""

    def close(self) -> None:
        """Write what is left."""


class Trackers:
    """All trackers of a run. One that fails is told in a sentence and left out from then on.

    Parameters
    ----------
    config : Config
    folder : Path
        The run's folder.
    attempt : int
        Which of the commands that add to this folder it is, from 1.
    """

    def __init__(self, config: Config, folder: Path, attempt: int) -> None:
        self._trackers: dict[str, Tracker] = {}
        self._open("TensorBoard", lambda: TensorBoard(folder / "tensorboard" / str(attempt)))
        project = config.tracking.wandb
        if project:
            self._open("Weights & Biases", lambda: WandB(project, config, folder))

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Pass on every number of some lines of metrics."""
        for name, tracker in list(self._trackers.items()):
            try:
                for round_, of_round in groupby(lines, key=lambda line: line.get("round")):
                    if values := dict(chain.from_iterable(map(scalars, of_round))):
                        tracker.scalars(values, round_)
            except Exception as error:
                self._failed(name, error)

    def close(self) -> None:
        """Write what is left."""
        for name, tracker in list(self._trackers.items()):
            try:
                tracker.close()
            except Exception as error:
                self._failed(name, error)

    def _open(self, name: str, make: Any) -> None:
        try:
            self._trackers[name] = make()
        except Exception as error:
            self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        self._trackers.pop(name, None)
        log.warning("%s gets nothing more of this run: %s", name, str(error) or type(error).__name__)


def scalars(line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a line of metrics, named like ``evaluation/kd/t5/accuracy``."""
    if line["stage"] == "start":
        return
    whose = "/".join(str(part) for part in [line["stage"], *(line[key] for key in WHOSE if line.get(key) is not None)])
    for key, value in line.items():
        inner = value.items() if isinstance(value, dict) and key == "training" else [(key, value)]
        for name, number in inner:
            if isinstance(number, int | float) and not isinstance(number, bool) and name not in ("time", "round"):
                yield f"{whose}/{name}", float(number)


class TensorBoard:
    """Event files in a folder."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import FileWriter

        self._writer = FileWriter(str(folder), flush_secs=10)

    def scalars(self, values: dict[str, float], round_: int | None) -> None:
        """Take scalars, as one event."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values_ = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.add_summary(Summary(value=values_), round_ or 0)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WandB:
    """A run of a Weights & Biases project, named like the run."""

    def __init__(self, project: str, config: Config, folder: Path) -> None:
        import wandb

        values = config.model_dump(mode="json")
        self._run = wandb.init(project=project, name=config.run, config=values, dir=str(folder), reinit="create_new")
        self._run.define_metric("*", step_metric="round")

    def scalars(self, values: dict[str, float], round_: int | None) -> None:
        """Take scalars."""
        self._run.log(values if round_ is None else {**values, "round": round_})

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()
