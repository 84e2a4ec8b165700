"""The files of a run besides its pictures, in ``runs/<run>/``:

| file | holds |
|---|---|
| ``config.yaml`` | the resolved configuration |
| ``metrics.jsonl`` | a line for each measurement |
| ``state.json`` | the completed steps, from which the run can continue |
| ``clips/node_<i>.json`` | the clips a node uses |
| ``checkpoints.json`` | the checkpoint files the run wrote |
| ``report.html`` | a page of all results |
| ``tensorboard/<attempt>/`` | the measurements, for TensorBoard |
"""

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import read_text, write_atomically
from vegas_fl.runs.progress import Progress
from vegas_fl.runs.report import table
from vegas_fl.runs.report.read import read
from vegas_fl.runs.tracking import Trackers
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.names import GENERATOR_FILES, adapter_files

log = logging.getLogger("vegas_fl.server")

PAGE_INTERVAL = 20
"""During a run, its page is written again after this many times the time that writing it takes."""
FIRST_PAGE = 5.0
"""Seconds from a run's start to its first page; a shorter run gets one only at its end."""


class Record:
    """The folder of a run. All commands of the run add to the same metrics."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = Path(config.paths.runs) / config.run
        self._metrics = self.folder / "metrics.jsonl"
        lines = _whole_lines(self._metrics)
        self._lines = len(lines)
        self.progress = Progress(config)
        self._start = time.monotonic() - self.progress.last["seconds"]
        text = OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))
        write_atomically(self.folder / "config.yaml", text.encode())
        attempt = 1 + sum('"stage": "start"' in line or '"stage": "resumed"' in line for line in lines)
        self._trackers = Trackers(config, self.folder, attempt)
        self._page_seconds = 0.0
        """Time spent on writing the page."""
        self._next_page = time.monotonic() + FIRST_PAGE
        about = {"stages": config.stages, "seed": config.seed, "aggregation": config.aggregation.name}
        if self.progress.resumes:
            self.add(stage="resumed", kept=self.progress.last["lines"], **about)
        else:
            self.add(stage="start", **about)
            self.progress.start(self._lines)

    @property
    def seconds(self) -> float:
        """Duration of the run so far, without the unfinished steps of interrupted attempts."""
        return round(time.monotonic() - self._start, 3)

    def done(self, stage: str, files: Mapping[Path, str] | None = None, round_: int | None = None) -> None:
        """Record that a stage, or a round of it, is done and wrote ``files`` (path → hash)."""
        self.progress.done(stage, files or {}, round_, self._lines, self.seconds)

    @contextlib.contextmanager
    def to_the_end(self) -> Iterator[None]:
        """Run the block to the end of the run: however it ends, that is recorded, and the page is written."""
        problem = "it was interrupted"
        try:
            yield
            problem = ""
            self.progress.complete()
        except Exception as error:
            problem = str(error) or type(error).__name__
            raise
        finally:
            self.add(stage="end", seconds=self.seconds, **({"problem": problem} if problem else {}))
            self._trackers.close()
            self.page(now=True)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the run, without writing the page."""
        start, before = time.monotonic(), self._page_seconds
        yield
        seconds = time.monotonic() - start - (self._page_seconds - before)
        log.info("%s took %.1f s", name, seconds)
        self.add(stage=name, seconds=round(seconds, 3))
        self.page()

    def add(self, **values: Any) -> None:
        """Append one line of metrics."""
        self.add_all([values])

    def add_all(self, lines: list[dict[str, Any]]) -> None:
        """Append lines of metrics, with the current time unless they have their own."""
        now = round(time.time(), 3)
        lines = [{"time": now, **values} for values in lines]
        try:
            with open(self._metrics, "a", encoding="utf8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        except OSError as error:
            raise VegasError(f"{self._metrics} cannot be written ({error.strerror}); free the disk") from error
        self._lines += len(lines)
        self._trackers.add(lines)

    def clips(self, node: str, manifest: Mapping[str, Any]) -> None:
        """Record the clips a node uses in ``clips/node_<i>.json``, and warn if they were others in an earlier attempt.

        A clip is identified by a hash of its class and file name, keyed with a secret of the node
        (:meth:`vegas_fl.audio.clips.Clip.id`).
        """
        data = (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()
        path = self.folder / "clips" / f"node_{node}.json"
        if path.exists() and path.read_bytes() != data:
            log.warning(
                "node %s uses other clips than in an earlier attempt of this run, or has a new clips.secret; see %s",
                *(node, path),
            )
        write_atomically(path, data)
        self.add(stage="clips", node=node, sha256=hashlib.sha256(data).hexdigest())

    def page(self, now: bool = False) -> None:
        """Write the list of checkpoints and the page, unless it was written recently (and not ``now``).

        If that fails, a warning is logged and the run continues.
        """
        start = time.monotonic()
        if not now and start < self._next_page:
            return
        try:
            from vegas_fl.runs.report import page

            checkpoints = json.dumps(listing(self.config, self.folder / "checkpoints.json"), indent=1)
            write_atomically(self.folder / "checkpoints.json", checkpoints.encode())
            page.write(self.folder)
        except Exception as error:
            log.warning("the report of run %s was not written: %s", self.config.run, error)
        spent = time.monotonic() - start
        self._page_seconds += spent
        self._next_page = time.monotonic() + PAGE_INTERVAL * spent

    def results(self) -> list[str]:
        """The run's results as lines of text."""
        try:
            return table.lines([read(self.folder)])
        except Exception as error:
            return [f"the results of run {self.config.run} cannot be read: {error}"]


def _whole_lines(path: Path) -> list[str]:
    """The lines of ``path``; an incomplete last line, left by a process that was killed, is removed."""
    if not path.exists():
        return []
    try:
        data = path.read_bytes()
        if rest := len(data) - (data.rfind(b"\n") + 1):
            os.truncate(path, len(data) - rest)
    except OSError as error:
        raise VegasError(
            f"{path} cannot be read or written ({error.strerror}); change its permissions, or choose run=…"
        ) from error
    return data[: len(data) - rest].decode("utf8", errors="replace").splitlines()


def listing(config: Config, before: Path) -> list[dict[str, Any]]:
    """The checkpoint files that a run wrote, with those of the list ``before``: path, bytes, and from the header kind,
    class, round, node and content hash."""
    written: list[Path] = []
    if "generators" in config.stages:
        written += sorted(Path(config.generator.checkpoint_dir).glob(f"**/{GENERATOR_FILES}"))
    if "adapters" in config.stages:
        written += adapter_files(Path(config.adapter.checkpoint_dir), config.run).values()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = [Path(entry["file"]) for entry in json.loads(read_text(before))]
        written += [path for path in known if path.is_file()]
    entries = []
    for path in dict.fromkeys(written):
        if path.parent.name == "previous":
            continue
        with contextlib.suppress(VegasError):
            header = tensorfiles.load_header(path)
            about = {key: header.get(key) for key in ("kind", "class", "round", "node", "sha256")}
            entries.append({"file": str(path), "bytes": path.stat().st_size, **about})
    return entries
