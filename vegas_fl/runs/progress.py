"""The progress of a run, ``runs/<run>/state.json``: after an interruption, the same command continues from there.

The file is replaced whenever a stage or round is done, and lists the checkpoints of each step with their hashes. It
holds no random state: every draw is derived from a hash of the run's seed and of what is drawn
(:mod:`vegas_fl.core.seeds`), so a repeated round gives the same result.
"""

import contextlib
import hashlib
import json
import logging
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vegas_fl.config import Config, anchored
from vegas_fl.config.whole import flat
from vegas_fl.core.errors import VegasError, some
from vegas_fl.core.files import read_text, write_atomically
from vegas_fl.storage import tensorfiles

log = logging.getLogger("vegas_fl.server")

FORMAT = 1
"""Version of the file; a run is not continued from another one."""

FREE_TO_CHANGE = ("engine", "tracking", "federation", "paths", "device", "images", "images_output_dir", "evaluation")
"""Sections that may change before a run is continued, because they do not affect training. Pictures have a check of
their own (vegas_fl/rendering/folder.py)."""

LOCK_WAIT = 20.0
"""Seconds to wait for another process to end."""

Step = dict[str, Any]
"""``stage``, ``round`` (None for a stage without rounds), ``files`` (path → hash), and the number of ``lines`` of
metrics and ``seconds`` until its end."""


@contextlib.contextmanager
def exclusive(config: Config) -> Iterator[None]:
    """Allow only one process at a time to work on a run. The lock is released when the process ends, even if killed.

    Raises
    ------
    VegasError
        Another process works on it.
    """
    folder = Path(config.paths.runs) / config.run
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = lock.acquire(timeout=LOCK_WAIT)
    except Timeout as error:
        raise VegasError(
            f"run {config.run}: another process works on it ({folder} is locked); wait until it ends, or choose "
            "another name (run=…)"
        ) from error
    except OSError as error:
        raise VegasError(
            f"{error.filename or folder} cannot be written ({error.strerror}); choose another paths.runs"
        ) from error
    with held:
        yield


class Progress:
    """The completed steps of a run.

    If ``state.json`` belongs to an unfinished run with the same settings, its steps are kept, up to the first whose
    files are damaged.
    """

    def __init__(self, config: Config) -> None:
        self._path = Path(config.paths.runs) / config.run / "state.json"
        self._settings = settings(config)
        self._steps: list[Step] = []
        self._begun: list[str] = []
        self._base: Step = {"lines": 0, "seconds": 0.0}
        self.resumes = False
        """Whether an interrupted run is continued."""
        self.id = uuid.uuid4().hex
        """Identifies this training, also after an interruption."""
        old = self._read()
        if old is None or old["complete"]:
            return
        if changed := differences(old["settings"], self._settings):
            log.warning(
                "run %s was interrupted with other settings (%s): it starts from the beginning, and its checkpoints "
                "are moved to previous/",
                config.run,
                some(changed, 3),
            )
            return
        self.resumes, self.id, self._base, self._begun = True, old["id"], old["base"], old["begun"]
        self._steps = intact(old["steps"])
        log.info("run %s continues; done so far: %s", config.run, ", ".join(map(name, self._steps)) or "nothing")

    @property
    def last(self) -> Step:
        """The last completed step, or the run's start."""
        return self._steps[-1] if self._steps else self._base

    def start(self, lines: int) -> None:
        """Record that a new run starts after ``lines`` lines of metrics."""
        self._base = {"lines": lines, "seconds": 0.0}
        self._write()

    def begun(self, stage: str) -> bool:
        """Whether a stage had begun before an interruption; if not, files in its folder belong to another training."""
        return stage in self._begun

    def begin(self, stage: str) -> None:
        """Record that a stage begins and the files of another training were moved away."""
        if stage not in self._begun:
            self._begun.append(stage)
            self._write()

    def has(self, stage: str) -> bool:
        """Whether a stage, or any round of it, is done."""
        return any(step["stage"] == stage for step in self._steps)

    def rounds(self, stage: str) -> int:
        """Number of completed rounds of a stage."""
        return max((step["round"] for step in self._steps if step["stage"] == stage), default=0)

    def done(self, stage: str, files: Mapping[Path, str], round_: int | None, lines: int, seconds: float) -> None:
        """Record that a stage, or a round of it, is done and wrote ``files`` (path → hash)."""
        hashes = {str(path): sha256 for path, sha256 in files.items()}
        self._steps.append({"stage": stage, "round": round_, "files": hashes, "lines": lines, "seconds": seconds})
        self._write()

    def complete(self) -> None:
        """Record that the run is complete: the same command starts a new one."""
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
        """The state, or None if the file is missing or damaged."""
        try:
            state: dict[str, Any] = json.loads(read_text(self._path))
            if state["format"] != FORMAT:
                raise ValueError(f"expected format {FORMAT}, got {state['format']}")
            if sealed(state) != sealed(state, state["sha256"]):
                raise ValueError("it does not match its hash")
            return state
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning(
                "%s cannot be read (%s): the run starts from the beginning, and its checkpoints are moved to previous/",
                self._path,
                error,
            )
            return None


def sealed(state: Mapping[str, Any], sha256: str | None = None) -> bytes:
    """The content of ``state.json``, with the hash of its other entries or a given one."""
    entries = {key: value for key, value in state.items() if key != "sha256"}
    own = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
    return json.dumps({**entries, "sha256": sha256 or own}, indent=1).encode()


def settings(config: Config) -> dict[str, Any]:
    """The settings that affect training, key by key."""
    values = anchored(config).model_dump(mode="json", exclude=set(FREE_TO_CHANGE))
    values["renderer"] = {key: values["renderer"][key] for key in ("model", "revision", "max_sequence_length")}
    return dict(flat(values))


def trained_by(values: Mapping[str, Any], stages: Collection[str]) -> dict[str, Any]:
    """Of a resolved configuration, the settings that decide what ``stages`` train, key by key; not where anything is,
    nor how many clips there may be at most, which need not matter."""
    sections: list[str] = []
    if {"generators", "adapters"} & set(stages):
        sections += ["seed", "threads", "transport", "data", "encoder", "nodes"]
    if "generators" in stages:
        sections += ["generator"]
    if "adapters" in stages:
        sections += ["rounds", "targets", "adapter", "aggregation"]
    places = ("root", "checkpoint_dir", "local_checkpoint_dir", "samples_per_node")
    trained = flat({key: values[key] for key in sections})
    return {key: value for key, value in trained if key.rpartition(".")[2] not in places}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Settings that differ, with both values."""
    return [f"{key} {old.get(key)} → {new.get(key)}" for key in {**old, **new} if old.get(key) != new.get(key)]


def intact(steps: Sequence[Step]) -> list[Step]:
    """The steps up to the first whose files have changed. Only the last round of a stage is used, and so checked; if
    it is damaged, the round before it."""
    kept = list(steps)
    while damaged := [step for step in {step["stage"]: step for step in kept}.values() if _damage(step)]:
        log.warning("%s is repeated: %s", name(damaged[0]), _damage(damaged[0]))
        kept = kept[: kept.index(damaged[0])]
    return kept


def _damage(step: Step) -> str | None:
    for path, sha256 in step["files"].items():
        try:
            if tensorfiles.load(Path(path)).header["sha256"] != sha256:
                return f"{path} has changed"
        except VegasError as error:
            return str(error)
    return None


def name(step: Step) -> str:
    """A step in words."""
    return step["stage"] + (f" round {step['round']}" if step["round"] else "")
