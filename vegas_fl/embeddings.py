"""Audio embeddings of clips, and the cache that remembers them.

The cache is a folder per space (encoder fingerprint and ``max_seconds``) with safetensors files, "shards", of
many embeddings (float16), each under the hash of its clip's content. The index is what the shards' headers
say, so there is no file that two processes could both want to change: each writes shards of its own, whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import random
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from tqdm import tqdm

from vegas_fl import encoders
from vegas_fl.clips import Clip
from vegas_fl.config import EncoderConfig
from vegas_fl.encoders import load_encoder
from vegas_fl.errors import AboutRecordings, VegasError
from vegas_fl.tensorfiles import write_atomically

log = logging.getLogger(__name__)

SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 15.0
"""A shard is written when it has this size or age: a killed run loses no more, and processes that embed the same clips
do little twice."""

MERGE_FROM = 8
"""Small shards that are worth merging."""

ABANDONED = 3600.0
"""Age in seconds at which a file that is not whole yet is nobody's any more: one is written within seconds."""

READERS = min(8, os.cpu_count() or 1)
"""Recordings that are read at once, while the network hears."""

BAD_SHOWN = 20
"""Bad recordings that one message names."""


def embed(
    clips: Sequence[Clip],
    config: EncoderConfig,
    *,
    cache_dir: Path | None,
    max_seconds: float,
    device: str = "cpu",
    progress: bool = False,
) -> torch.Tensor:
    """Audio embeddings of clips, from the cache where it has them.

    The encoder is loaded only if something is missing. Values are rounded to float16 whether they come
    from the cache or not, so both give the same.

    Parameters
    ----------
    clips : N clips
    config : EncoderConfig
    cache_dir : Path or None
        Folder of the cache; None: compute everything, keep nothing.
    max_seconds : float
        Seconds of a clip that are heard.
    device : str
        Where the encoder runs.
    progress : bool
        Show a progress bar when something is computed.

    Returns
    -------
    torch.Tensor [N, S, D]
        float32.

    Raises
    ------
    AboutRecordings
        Recordings cannot be used: all of them are named, and the good ones are in the cache.
    """
    keys, problems = _contents(clips)
    wanted = dict(zip(reversed(keys), reversed(clips), strict=True))
    cache = Cache(cache_dir, encoders.fingerprint(config), max_seconds) if cache_dir else None
    found = cache.read(wanted) if cache else {}
    missing = {key: wanted[key] for key in dict.fromkeys(keys) if key not in found and key not in problems}
    if missing:
        random.Random(os.urandom(8)).shuffle(order := list(missing))
        try:
            for key, embedding in _compute(
                {k: missing[k] for k in order}, found, config, max_seconds, device, progress, problems
            ):
                found[key] = embedding
                if cache and cache.add(key, embedding):
                    found |= cache.read(missing.keys() - found.keys())
        finally:
            if cache:
                cache.flush()
        if cache:
            cache.merge()
    if problems:
        raise AboutRecordings(_told(clips, keys, wanted, problems))
    embeddings = torch.empty(len(clips), *encoders.shape(config))
    for position, key in enumerate(keys):
        embeddings[position] = found[key]
    return embeddings


def _contents(clips: Sequence[Clip]) -> tuple[list[str], dict[str, str]]:
    """What each clip is known by in the cache, the hash of its content; and by name, why some cannot be read."""
    keys: list[str] = []
    problems: dict[str, str] = {}
    for clip in clips:
        try:
            keys.append(clip.content())
        except VegasError as error:
            keys.append(clip.name)
            problems[clip.name] = str(error)
    return keys, problems


def _told(clips: Sequence[Clip], keys: Sequence[str], wanted: dict[str, Clip], problems: dict[str, str]) -> str:
    """All recordings that cannot be used, in one message."""
    lines = []
    for clip, key in zip(clips, keys, strict=True):
        if key in problems:
            first = wanted[key]
            same = f"{clip.name} has the same content as {first.name}"
            lines.append(f"- {problems[key] if clip is first else same}")
    count = "1 recording" if len(lines) == 1 else f"{len(lines)} recordings"
    rest = [f"- and {len(lines) - BAD_SHOWN} more"] if len(lines) > BAD_SHOWN else []
    return "\n".join([f"{count} cannot be used:", *lines[:BAD_SHOWN], *rest])


def _compute(
    clips: dict[str, Clip],
    found: Mapping[str, torch.Tensor],
    config: EncoderConfig,
    max_seconds: float,
    device: str,
    progress: bool,
    problems: dict[str, str],
) -> Iterator[tuple[str, torch.Tensor]]:
    """Embeddings (float16) of ``clips`` by key, batch by batch, but of those that have been ``found`` by then; what
    cannot be used goes to ``problems``."""
    encoder = load_encoder(config, device)
    waiting, ahead = deque(clips.items()), deque[list[tuple[str, Future[np.ndarray]]]]()
    bar = tqdm(total=len(clips), desc="listening", unit="clip", mininterval=1, disable=not progress)
    with bar, ThreadPoolExecutor(READERS) as readers:
        while waiting or ahead:
            while waiting and len(ahead) < 2:  # read while the network hears
                ahead.append([])
                while waiting and len(ahead[-1]) < config.batch_size:
                    key, clip = waiting.popleft()
                    if key in found:
                        bar.update()
                    else:
                        ahead[-1].append((key, readers.submit(clip.read, encoder.rate, max_seconds)))
            waveforms = {}
            for key, reading in (batch := ahead.popleft()):
                try:
                    waveforms[key] = reading.result()
                except VegasError as error:
                    problems[key] = str(error)
            if waveforms:
                yield from zip(waveforms, encoder.encode(list(waveforms.values())).half(), strict=True)
            bar.update(len(batch))


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
