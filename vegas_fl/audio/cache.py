"""The cache of audio embeddings.

A folder per space (encoder fingerprint and ``max_seconds``) with safetensors files, "shards", of
many embeddings (float16), each under the hash of its clip's content. The index is what the shards' headers
say, so there is no file that two processes could both want to change: each writes shards of its own, whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from vegas_fl.core.files import write_atomically

log = logging.getLogger(__name__)

SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 15.0
"""A shard is written when it has this size or age: a killed run loses no more, and processes that embed the same clips
do little twice."""

MERGE_FROM = 8
"""Small shards that are worth merging."""

ABANDONED = 3600.0
"""Age in seconds at which a file that is not whole yet is nobody's any more: one is written within seconds."""


class Cache:
    """The embeddings of one space on disk."""

    def __init__(self, folder: Path, fingerprint: str, max_seconds: float) -> None:
        self._folder = folder / f"{fingerprint}-{max_seconds:g}s"
        self._pending: dict[str, torch.Tensor] = {}
        self._bytes = 0
        self._since = time.monotonic()

    def read(self, wanted: Iterable[str]) -> dict[str, torch.Tensor]:
        """Those of ``wanted`` that the cache has, ``[S, D]`` float16. A damaged shard is told and removed."""
        rest, found = set(wanted), dict[str, torch.Tensor]()
        looked_at: set[Path] = set()
        while rest and (shards := sorted(set(self._folder.glob("*.safetensors")) - looked_at)):
            # Again, if another process merges shards meanwhile: what vanished is in new ones.
            for path in shards:
                part = self._part(path, rest)
                found |= part
                rest -= part.keys()
            looked_at.update(shards)
        return found

    def _part(self, path: Path, wanted: set[str] | None) -> dict[str, torch.Tensor]:
        """What a shard has of ``wanted`` (None: everything)."""
        try:
            return _read_shard(path, wanted)
        except FileNotFoundError:
            return {}
        except (SafetensorError, ValueError, RuntimeError) as error:
            if not path.exists():  # it vanished while it was opened: torch tells that in words of its own
                return {}
            log.warning("%s is damaged (%s): removed, its clips are embedded again", path, error)
            with contextlib.suppress(OSError):  # of somebody else, in a cache that is shared: it is passed over
                path.unlink()
            return {}

    def add(self, key: str, embedding: torch.Tensor) -> bool:
        """Keep an embedding; it is on disk after :meth:`flush` at the latest. Tells whether a shard was written."""
        self._pending[key] = embedding.clone()
        self._bytes += embedding.nbytes
        if full := self._bytes >= SHARD_BYTES or time.monotonic() - self._since >= SHARD_SECONDS:
            self.flush()
        return full

    def flush(self) -> None:
        """Write what is not on disk yet, not even by another process, as one shard."""
        if self._pending:
            for path in self._folder.glob("*.safetensors"):
                for key in _keys(path) & self._pending.keys():
                    del self._pending[key]
        self._write()

    def _write(self) -> Path | None:
        """Write what is pending, as one shard named by what it holds."""
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
        """Make few large shards of many small ones, unless another process is at it; and remove what processes that
        were killed while writing left."""
        for rest in self._folder.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - rest.stat().st_mtime > ABANDONED:
                    rest.unlink()
        small = sorted(path for path in self._folder.glob("*.safetensors") if _size(path) < SHARD_BYTES / 2)
        if len(small) < MERGE_FROM:
            return
        try:
            lock = open(self._folder / ".merging", "w")  # noqa: SIM115 (closed below)
        except OSError:  # another user's, in a cache that is shared: who made it may merge
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
    """Bytes of a file; a file that has vanished is not small."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return float("inf")


def _keys(path: Path) -> set[str]:
    """What a shard has; nothing if it has vanished, or cannot be read."""
    try:
        with safe_open(path, framework="pt") as shard:
            return set(shard.keys())
    except (OSError, SafetensorError, RuntimeError):
        return set()


def _read_shard(path: Path, wanted: set[str] | None) -> dict[str, torch.Tensor]:
    """Those of ``wanted`` in a shard; ValueError if one of them is not what was written."""
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
