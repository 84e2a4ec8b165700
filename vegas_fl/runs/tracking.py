"""Measurements for TensorBoard, and for Weights & Biases if ``tracking.wandb`` names a project."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any, NamedTuple

from vegas_fl.config import Config

log = logging.getLogger("vegas_fl.server")

SOURCES = ("adapter", "branch", "message", "label", "node")
"""Entries of a line that become part of the names of its scalars."""


class Tracker(NamedTuple):
    """What takes scalars by name, and their round; and what writes everything out at the end."""

    scalars: Callable[[dict[str, float], int | None], None]
    close: Callable[[], None]


class Trackers:
    """All trackers of a run with its ``folder``, to which the ``attempt``-th command adds. A tracker that fails is
    dropped with a warning."""

    def __init__(self, config: Config, folder: Path, attempt: int) -> None:
        self._trackers: dict[str, Tracker] = {}
        with self._dropped_on_failure("TensorBoard"):
            self._trackers["TensorBoard"] = _tensorboard(folder / "tensorboard" / str(attempt))
        if project := config.tracking.wandb:
            with self._dropped_on_failure("Weights & Biases"):
                self._trackers["Weights & Biases"] = _wandb(project, config, folder)

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Pass on every number in lines of metrics."""
        for name, tracker in list(self._trackers.items()):
            with self._dropped_on_failure(name):
                for round_, of_round in groupby(lines, key=lambda line: line.get("round")):
                    if values := dict(chain.from_iterable(map(scalars, of_round))):
                        tracker.scalars(values, round_)

    def close(self) -> None:
        """Write everything out."""
        for name, tracker in list(self._trackers.items()):
            with self._dropped_on_failure(name):
                tracker.close()

    @contextlib.contextmanager
    def _dropped_on_failure(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._trackers.pop(name, None)
            log.warning("%s receives no more data of this run: %s", name, str(error) or type(error).__name__)


def scalars(line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a line of metrics, with names like ``evaluation/kd/t5/accuracy``."""
    if line["stage"] == "start":
        return
    parts = [line["stage"], *(line[key] for key in SOURCES if line.get(key) is not None)]
    for key, value in line.items():
        inner = value.items() if isinstance(value, dict) and key == "training" else [(key, value)]
        for name, number in inner:
            if isinstance(number, int | float) and not isinstance(number, bool) and name not in ("time", "round"):
                yield "/".join(map(str, [*parts, name])), float(number)


def _tensorboard(folder: Path) -> Tracker:
    """An event file in a folder, whose name, unlike one by TensorBoard's own writer, does not have the host's."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    writer = RecordWriter((folder / f"events.out.tfevents.{time.time():.0f}").open("wb"))

    def write(**values: Any) -> None:
        writer.write(Event(wall_time=time.time(), **values).SerializeToString())
        writer.flush()

    def log_scalars(values: dict[str, float], round_: int | None) -> None:
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        write(step=round_ or 0, summary=Summary(value=scalars))

    write(file_version="brain.Event:2")
    return Tracker(log_scalars, writer.close)


def _wandb(project: str, config: Config, folder: Path) -> Tracker:
    """A run of a Weights & Biases project, with the name of the run."""
    import wandb

    values = config.model_dump(mode="json")
    run = wandb.init(project=project, name=config.run, config=values, dir=str(folder), reinit="create_new")
    run.define_metric("*", step_metric="round")
    return Tracker(
        lambda values, round_: run.log(values if round_ is None else {**values, "round": round_}), run.finish
    )
