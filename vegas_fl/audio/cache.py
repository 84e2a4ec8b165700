"""The cache of audio embeddings.

Each embedding space (encoder fingerprint and ``max_seconds``) has a folder of safetensors files, "shards". A shard
holds many embeddings (float16), each named by the hash of its clip's content. The headers of the shards are the only
index, and a shard is never changed, so processes need no lock: each writes shards of its own. (A file for each
embedding was measured: reading it back takes two to eight times as long. Reading 1250 shards of 40 embeddings takes no
longer than reading two large ones.)
"""

import contextlib
import hashlib
import json
import logging
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import regular, write_atomically

log = logging.getLogger(__name__)

SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 15.0
"""A shard is written at this size or age. A killed run loses no more than that, and processes that embed the same clips
repeat little work."""

ABANDONED = 3600.0
"""Age in seconds from which an unfinished file is considered abandoned: writing one takes seconds."""


class Cache:
    """The embeddings of one space on disk, of ``shape`` [S, D] if given. Leaving its ``with`` block writes what was
    added, and tidies up. What cannot be read or written costs time only: it is logged, and computed again."""

    def __init__(
        self, folder: Path, fingerprint: str, max_seconds: float, shape: tuple[int, int] | None = None
    ) -> None:
        self._shape = shape
        self._folder = folder / f"{fingerprint}-{max_seconds:g}s"
        self._pending: dict[str, torch.Tensor] = {}
        self._bytes = 0
        self._since = time.monotonic()

    def read(self, wanted: Iterable[str]) -> dict[str, torch.Tensor]:
        """Those of ``wanted`` that the cache has, ``[S, D]`` float16. Damaged shards are logged and removed."""
        rest, found = set(wanted), dict[str, torch.Tensor]()
        for path in sorted(self._folder.glob("*.safetensors")) if rest else []:
            try:
                part = _read_shard(path, rest, self._shape)
            except PermissionError as error:
                log.warning("%s cannot be read (%s): its clips are embedded again", path, error.strerror)
                continue
            except (OSError, SafetensorError, ValueError, TypeError, RuntimeError) as error:
                if path.exists():  # otherwise another process has removed it
                    log.warning("%s is damaged (%s): removed; its clips are embedded again", path, error)
                    with contextlib.suppress(OSError):  # another user's file in a shared cache: skip it
                        path.unlink()
                continue
            found |= part
            rest -= part.keys()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()
        for unfinished in self._folder.glob(".*.tmp"):  # of processes that were killed
            with contextlib.suppress(OSError):
                if time.time() - unfinished.stat().st_mtime > ABANDONED:
                    unfinished.unlink()

    def add(self, embeddings: Mapping[str, torch.Tensor]) -> bool:
        """Add embeddings; they are on disk after :meth:`flush` at the latest. Returns whether a shard was written."""
        for key, embedding in embeddings.items():
            self._pending[key] = embedding.clone()
            self._bytes += embedding.nbytes
        if full := self._bytes >= SHARD_BYTES or time.monotonic() - self._since >= SHARD_SECONDS:
            self.flush()
        return full

    def flush(self) -> None:
        """Write all pending embeddings that no process has written yet as one shard, named by a hash of its keys."""
        for path in self._folder.glob("*.safetensors") if self._pending else []:
            for key in _keys(path) & self._pending.keys():
                del self._pending[key]
        if self._pending:
            name = hashlib.sha256("".join(sorted(self._pending)).encode()).hexdigest()[:16]
            sums = {key: _checksum(value) for key, value in self._pending.items()}
            data = to_bytes(self._pending, metadata={"crc32": json.dumps(sums)})
            try:
                write_atomically(self._folder / f"{name}.safetensors", data)
            except VegasError as error:
                log.warning("%s; %d clips will be embedded again by later runs", error, len(self._pending))
        self._pending, self._bytes, self._since = {}, 0, time.monotonic()


def _keys(path: Path) -> set[str]:
    """The keys of a shard; none if it cannot be read."""
    try:
        with safe_open(regular(path), framework="pt") as shard:
            return set(shard.keys())
    except (OSError, SafetensorError, ValueError, RuntimeError):
        return set()


def _read_shard(path: Path, wanted: set[str], shape: tuple[int, int] | None) -> dict[str, torch.Tensor]:
    """Those of ``wanted`` that a shard has; ValueError if one has changed since it was written, or another shape."""
    with safe_open(regular(path), framework="pt") as shard:
        sums = TypeAdapter(dict[str, int]).validate_json((shard.metadata() or {}).get("crc32", "{}"))
        part = {key: shard.get_tensor(key) for key in wanted.intersection(shard.keys())}
    for key, value in part.items():
        if sums.get(key) != _checksum(value):
            raise ValueError(f"the embedding {key[:12]}… has changed")
        if shape and (value.shape != shape or value.dtype != torch.float16):
            raise ValueError(f"an embedding is {value.dtype} {list(value.shape)}, expected float16 {list(shape)}")
    return part


def _checksum(embedding: torch.Tensor) -> int:
    return zlib.crc32(embedding.contiguous().numpy().tobytes())
