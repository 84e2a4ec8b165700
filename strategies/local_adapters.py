"""The nodes' own adapters: written when they arrive, read when they are needed."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from vegas_fl.config import BRANCHES, Config
from vegas_fl.storage.adapters import SavedAdapter, load_adapter, save_adapter
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.names import adapter_path, find_adapters, source_run
from vegas_fl.storage.tensorfiles import State

HELD_BYTES = 32 * 10**6
"""Most bytes of adapters that are kept in memory for the round they arrived in, besides being written."""


@dataclass(frozen=True)
class LocalAdapter:
    """A node's own adapter, on disk until it is needed, so that memory does not grow with the nodes; up to
    :data:`HELD_BYTES` of the current round are ``held`` in memory as well."""

    node: str
    samples: dict[str, int]
    paths: dict[str, Path]
    held: State | None = None

    @property
    def clips(self) -> int:
        """Number of clips it was trained on."""
        return sum(self.samples.values())

    def load(self, spaces: Spaces) -> SavedAdapter:
        """Its files' content."""
        return load_adapter(self.paths, spaces)

    def state(self, spaces: Spaces) -> State:
        """Its weights."""
        return self.load(spaces).state if self.held is None else self.held


class LocalWriter:
    """Writes the adapters of a round one by one, on a thread, while the server waits for the next; at its end all are
    on disk.

    Parameters
    ----------
    folder : Path
    run : str
    round_ : int
    header : dict
        What all of them have in common.
    """

    def __init__(self, folder: Path, run: str, round_: int, header: dict[str, Any]) -> None:
        self._folder, self._run, self._round, self._header = folder, run, round_, header
        self._disk = ThreadPoolExecutor(1)
        self._last: Future[dict[Path, str]] | None = None
        self._held = 0
        self.files: dict[Path, str] = {}
        """What was written, with hashes."""

    def __enter__(self) -> LocalWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._disk.shutdown()
        if kind is None:
            self._wait()

    def keep(self, node: str, samples: dict[str, int], state: State) -> LocalAdapter:
        """Start to write an adapter, as soon as the previous one is on disk.

        Raises
        ------
        VegasError
            The previous one could not be written.
        """
        self._wait()
        header = {**self._header, "samples": samples}
        self._last = self._disk.submit(save_adapter, self._folder, self._run, self._round, state, header, node)
        size = sum(tensor.nbytes for tensor in state.values())
        holds = self._held + size <= HELD_BYTES
        self._held += size if holds else 0
        paths = {branch: adapter_path(self._folder, self._run, self._round, branch, node) for branch in BRANCHES}
        return LocalAdapter(node, samples, paths, state if holds else None)

    def _wait(self) -> None:
        if self._last is not None:
            self.files |= self._last.result()


def find_local(folder: Path, config: Config, most: int | None = None) -> dict[str, LocalAdapter]:
    """The nodes' own adapters in ``folder``, each of its highest round (of at most ``most``)."""
    found, run = {}, source_run(config, folder)
    for node in sorted(config.nodes, key=int):
        rounds = {
            round_: paths
            for round_, paths in find_adapters(folder, node, run).items()
            if most is None or round_ <= most
        }
        if rounds:
            paths = rounds[max(rounds)]
            found[node] = LocalAdapter(node, load_adapter(paths).header["samples"], paths)
    return found
