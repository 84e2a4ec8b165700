"""How far a run has come, ``runs/<run>/state.json``: stopped at any moment, the same command goes on from there.

The file is replaced whenever a stage or round is done, and names the checkpoints it left with their hashes. Nothing
random is kept, because nothing random has a state: every draw comes from a hash of the run's seed and of what is
drawn (:mod:`vegas_fl.core.seeds`), so a round done again gives the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vegas_fl.config import Config
from vegas_fl.config.places import anchored
from vegas_fl.core.errors import VegasError, some
from vegas_fl.core.files import write_atomically
from vegas_fl.storage import tensorfiles

log = logging.getLogger("vegas_fl.server")

FORMAT = 1
"""Version of the file; one of another version is not gone on from."""

NO_MATTER = ("engine", "tracking", "federation", "paths", "device", "images", "images_output_dir", "evaluation")
"""Sections that may change between two attempts: they decide how a run is done, or what is looked at, not what is
trained. Pictures have a check of their own (vegas_fl/rendering/folder.py)."""

LOCK_WAIT = 20.0
"""Seconds given to a process that is about to end."""

Step = dict[str, Any]
"""``stage``, ``round`` (None for a stage without rounds), ``files`` (path → hash), ``lines`` of metrics and ``seconds``
until then."""


@contextlib.contextmanager
def exclusive(config: Config) -> Iterator[None]:
    """Only one process at a time works on a run; the lock goes with the process, however that ends.

    Raises
    ------
    VegasError
        Another one is at it.
    """
    folder = Path(config.paths.runs) / config.run
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_WAIT)
    except Timeout as error:
        raise VegasError(
            f"run {config.run}: another process works on it ({folder} is locked); wait for its end, or give this one "
            "another name (run=…)"
        ) from error
    except OSError as error:
        raise VegasError(f"{folder} cannot be written ({error.strerror}); choose another paths.runs") from error
    try:
        yield
    finally:
        lock.release()


class Progress:
    """The steps of a run that are done.

    If ``state.json`` is of an unfinished run with the same settings, its steps are taken over, without those whose
    files are damaged and what came after them.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config) -> None:
        self._path = Path(config.paths.runs) / config.run / "state.json"
        self._settings = settings(config)
        self._steps: list[Step] = []
        self._begun: list[str] = []
        self._base: Step = {"lines": 0, "seconds": 0.0}
        self.resumes = False
        """Whether this is the continuation of an interrupted run."""
        self.id = uuid.uuid4().hex
        """Of this training, the same after an interruption."""
        old = self._read()
        if old is None or old["complete"]:
            return
        if changed := differences(old["settings"], self._settings):
            log.warning(
                "run %s was interrupted with other settings (%s): it starts anew, and the checkpoints made so far "
                "are moved to previous/",
                config.run,
                some(changed, 3),
            )
            return
        self.resumes, self.id, self._base, self._begun = True, old["id"], old["base"], old["begun"]
        self._steps = intact(old["steps"])
        log.info("run %s goes on; done so far: %s", config.run, ", ".join(map(name, self._steps)) or "nothing")

    @property
    def last(self) -> Step:
        """The last step that is done, or the run's start."""
        return self._steps[-1] if self._steps else self._base

    def start(self, lines: int) -> None:
        """A new run starts after so many ``lines`` of metrics."""
        self._base = {"lines": lines, "seconds": 0.0}
        self._write()

    def begun(self, stage: str) -> bool:
        """Whether a stage has begun, before an interruption; if not, what lies in its folder is another training's."""
        return stage in self._begun

    def begin(self, stage: str) -> None:
        """A stage begins: what another training left has been moved away."""
        if stage not in self._begun:
            self._begun.append(stage)
            self._write()

    def has(self, stage: str) -> bool:
        """Whether a stage is done; of one with rounds, whether any is."""
        return any(step["stage"] == stage for step in self._steps)

    def rounds(self, stage: str) -> int:
        """Rounds of a stage that are done."""
        return max((step["round"] for step in self._steps if step["stage"] == stage), default=0)

    def done(self, stage: str, files: Mapping[Path, str], round_: int | None, lines: int, seconds: float) -> None:
        """A stage, or a round of it, is done: ``files`` (and their hashes) are what it left."""
        hashes = {str(path): sha256 for path, sha256 in files.items()}
        self._steps.append({"stage": stage, "round": round_, "files": hashes, "lines": lines, "seconds": seconds})
        self._write()

    def complete(self) -> None:
        """The run is at its end: the same command is a new run."""
        self._write(complete=True)

    def _write(self, complete: bool = False) -> None:
        state = {
            "format": FORMAT,
            "complete": complete,
            "id": self.id,
            "settings": self._settings,
            "base": self._base,
            "begun": self._begun,
            "steps": self._steps,
        }
        write_atomically(self._path, sealed(state))

    def _read(self) -> dict[str, Any] | None:
        """The file, if it is whole: a damaged one is not believed in parts."""
        try:
            state: dict[str, Any] = json.loads(self._path.read_text("utf8"))
            if state["format"] != FORMAT:
                raise ValueError(f"its format is {state['format']}, needed is {FORMAT}")
            if sealed(state) != sealed(state, state["sha256"]):
                raise ValueError("it does not match its hash")
            return state
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning(
                "%s cannot be read (%s): the run starts anew, and the checkpoints made so far are moved to previous/",
                self._path,
                error,
            )
            return None


def sealed(state: Mapping[str, Any], sha256: str | None = None) -> bytes:
    """``state.json`` with the hash of what it says, or another one."""
    said = {key: value for key, value in state.items() if key != "sha256"}
    own = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return json.dumps({**said, "sha256": sha256 or own}, indent=1).encode()


def settings(config: Config) -> dict[str, Any]:
    """What decides what a run trains, key by key."""
    values = anchored(config).model_dump(mode="json", exclude=set(NO_MATTER))
    values["renderer"] = {key: values["renderer"][key] for key in ("model", "revision", "max_sequence_length")}
    return dict(_flat(values, ""))


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Settings that are not the same, with both values."""
    return [f"{key} {old.get(key)} → {new.get(key)}" for key in {**old, **new} if old.get(key) != new.get(key)]


def intact(steps: Sequence[Step]) -> list[Step]:
    """The steps up to the first whose files are not as it left them. Of the rounds of a stage only the last is
    needed, and looked at; if that is damaged, the one before."""
    kept = list(steps)
    while damaged := [step for step in {step["stage"]: step for step in kept}.values() if _damage(step)]:
        log.warning("%s is done again: %s", name(damaged[0]), _damage(damaged[0]))
        kept = kept[: kept.index(damaged[0])]
    return kept


def _damage(step: Step) -> str | None:
    for path, sha256 in step["files"].items():
        try:
            if tensorfiles.load(Path(path)).header["sha256"] != sha256:
                return f"{path} is another file than it was"
        except VegasError as error:
            return str(error)
    return None


def name(step: Step) -> str:
    """A step in words."""
    return step["stage"] + (f" round {step['round']}" if step["round"] else "")
