"""The cache of audio embeddings.

Each embedding space (encoder fingerprint and ``max_seconds``) has a folder of safetensors files, "shards". A shard
holds many embeddings (float16), each named by the hash of its clip's content. The headers of the shards are the only
index, and a shard is never changed, so processes need no lock: each writes shards of its own. (A file for each
embedding was measured: reading it back takes two to eight times as long.)
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from vegas_fl.core.files import write_atomically

log = logging.getLogger(__name__)

SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 15.0
"""A shard is written at this size or age. A killed run loses no more than that, and processes that embed the same clips
repeat little work."""

MERGE_FROM = 8
"""Number of small shards from which merging pays."""

ABANDONED = 3600.0
"""Age in seconds from which an unfinished file is considered abandoned: writing one takes seconds."""


class Cache:
    """The embeddings of one space on disk. Leaving its ``with`` block writes what was added, and tidies up."""

    def __init__(self, folder: Path, fingerprint: str, max_seconds: float) -> None:
        self._folder = folder / f"{fingerprint}-{max_seconds:g}s"
        self._pending: dict[str, torch.Tensor] = {}
        self._bytes = 0
        self._since = time.monotonic()

    def read(self, wanted: Iterable[str]) -> dict[str, torch.Tensor]:
        """Those of ``wanted`` that the cache has, ``[S, D]`` float16. Damaged shards are logged and removed."""
        rest, found = set(wanted), dict[str, torch.Tensor]()
        looked_at: set[Path] = set()
        while rest and (shards := sorted(set(self._folder.glob("*.safetensors")) - looked_at)):
            # Look again: shards that another process merges in the meantime are in new files.
            for path in shards:
                part = self._part(path, rest)
                found |= part
                rest -= part.keys()
            looked_at.update(shards)
        return found

    def _part(self, path: Path, wanted: set[str] | None) -> dict[str, torch.Tensor]:
        """:func:`_read_shard`, but nothing from a shard that has vanished or is damaged."""
        try:
            return _read_shard(path, wanted)
        except FileNotFoundError:
            return {}
        except (SafetensorError, ValueError, RuntimeError) as error:
            if not path.exists():  # it vanished while it was opened, which torch reports as a RuntimeError
                return {}
            log.warning("%s is damaged (%s): removed; its clips are embedded again", path, error)
            with contextlib.suppress(OSError):  # another user's file in a shared cache: skip it
                path.unlink()
            return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.flush()
        if error is None:
            self.merge()

    def add(self, embeddings: Mapping[str, torch.Tensor]) -> bool:
        """Add embeddings; they are on disk after :meth:`flush` at the latest. Returns whether a shard was written."""
        for key, embedding in embeddings.items():
            self._pending[key] = embedding.clone()
            self._bytes += embedding.nbytes
        if full := self._bytes >= SHARD_BYTES or time.monotonic() - self._since >= SHARD_SECONDS:
            self.flush()
        return full

    def flush(self) -> None:
        """Write all pending embeddings that no process has written yet, as one shard."""
        if self._pending:
            for path in self._folder.glob("*.safetensors"):
                for key in _keys(path) & self._pending.keys():
                    del self._pending[key]
        self._write()

    def _write(self) -> Path | None:
        """Write all pending embeddings as one shard, named by a hash of its keys."""
        path = None
        if self._pending:
            name = hashlib.sha256("".join(sorted(self._pending)).encode()).hexdigest()[:16]
            sums = {key: _checksum(value) for key, value in self._pending.items()}
            data = to_bytes(self._pending, metadata={"crc32": json.dumps(sums)})
            path = self._folder / f"{name}.safetensors"
            write_atomically(path, data)
        self._pending, self._bytes, self._since = {}, 0, time.monotonic()
        return path

    def merge(self) -> None:
        """Merge small shards into large ones, unless another process is doing so, and remove the unfinished files of
        killed processes."""
        for unfinished in self._folder.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - unfinished.stat().st_mtime > ABANDONED:
                    unfinished.unlink()
        small = sorted(path for path in self._folder.glob("*.safetensors") if _size(path) < SHARD_BYTES / 2)
        if len(small) < MERGE_FROM:
            return
        try:
            lock = open(self._folder / ".merging", "w")  # noqa: SIM115 (closed below)
        except OSError:  # another user's file in a shared cache: only they can merge
            return
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            merged: list[Path] = []
            for path in small:
                merged.append(path)
                self._pending |= self._part(path, None)
                self._bytes = sum(value.nbytes for value in self._pending.values())
                if self._bytes >= SHARD_BYTES or path is small[-1]:
                    written = self._write()
                    for old in merged:
                        if old != written:
                            with contextlib.suppress(OSError):
                                old.unlink()
                    merged = []


def _size(path: Path) -> float:
    """Bytes of a file; infinite if it has vanished, so that it is not merged."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return float("inf")


def _keys(path: Path) -> set[str]:
    """The keys of a shard; none if it has vanished or cannot be read."""
    try:
        with safe_open(path, framework="pt") as shard:
            return set(shard.keys())
    except (OSError, SafetensorError, RuntimeError):
        return set()


def _read_shard(path: Path, wanted: set[str] | None) -> dict[str, torch.Tensor]:
    """Those of ``wanted`` that a shard has (None: all it has); ValueError if one has changed since it was written."""
    with safe_open(path, framework="pt") as shard:
        sums = json.loads((shard.metadata() or {}).get("crc32", "{}"))
        keys = set(shard.keys())
        part = {key: shard.get_tensor(key) for key in (keys if wanted is None else keys & wanted)}
    for key, value in part.items():
        if sums.get(key) != _checksum(value):
            raise ValueError(f"the embedding {key[:12]}… has changed")
    return part


def _checksum(embedding: torch.Tensor) -> int:
    return zlib.crc32(embedding.contiguous().numpy().tobytes())
