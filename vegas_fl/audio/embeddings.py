"""Audio embeddings of clips: read from the cache, or computed."""

import contextlib
import functools
import logging
import os
import random
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from vegas_fl.audio import encoders
from vegas_fl.audio.cache import Cache
from vegas_fl.audio.clips import Clip, loudest_channel
from vegas_fl.audio.encoders import load_encoder
from vegas_fl.audio.encoders.base import AudioEncoder
from vegas_fl.config import EncoderConfig
from vegas_fl.core.errors import AboutRecordings, VegasError
from vegas_fl.core.progress import Progress

log = logging.getLogger(__name__)

READERS = min(8, os.cpu_count() or 1)
"""Threads that read recordings while the network runs."""

BAD_SHOWN = 20
"""Most unusable recordings named in one message."""


def embed(
    clips: Sequence[Clip],
    config: EncoderConfig,
    *,
    cache_dir: Path | None,
    max_seconds: float,
    device: str = "cpu",
    progress: str = "",
) -> torch.Tensor:
    """Audio embeddings ``[N, S, D]`` (float32) of N clips, from the cache where it has them.

    The encoder is loaded, on ``device``, only if something is missing. Values are always rounded to float16, so they do
    not depend on whether they come from the cache; without a ``cache_dir``, all are computed and none is kept. Only
    ``max_seconds`` of a clip are used. ``progress`` says whose clips these are while their progress is shown; "": show
    nothing.

    Raises
    ------
    AboutRecordings
        Some recordings cannot be used. The message names them all; the others are in the cache.
    """
    keys, problems = _content_keys(clips)
    first = dict(zip(reversed(keys), reversed(clips), strict=True))  # of several copies, the first
    usable = {key: clip for key, clip in first.items() if key not in problems}
    fingerprint = encoders.fingerprint(config)
    cache = Cache(cache_dir, fingerprint, max_seconds) if cache_dir else None
    found = cache.read(usable) if cache else {}
    if missing := {key: clip for key, clip in usable.items() if key not in found}:
        embedder = _Embedder(_encoder(config, device, fingerprint), config.batch_size, max_seconds, cache)
        with cache or contextlib.nullcontext():
            embedder.run(missing, progress)
        if embedder.cancelled:
            log.warning("%s", loudest_channel(embedder.cancelled))
        found |= embedder.found
        problems |= embedder.problems
    if problems:
        raise AboutRecordings(_report(clips, keys, first, problems))
    embeddings = torch.empty(len(clips), *encoders.shape(config))
    for position, key in enumerate(keys):
        embeddings[position] = found[key]
    return embeddings


@functools.lru_cache(maxsize=1)
def _encoder(config: EncoderConfig, device: str, fingerprint: str) -> AudioEncoder:
    """The encoder of this process, loaded once for all nodes and requests."""
    return load_encoder(config, device)


def _content_keys(clips: Sequence[Clip]) -> tuple[list[str], dict[str, str]]:
    """The cache key of each clip (a hash of its content), and the errors of clips that have none, by their names,
    which stand in for the key."""
    keys: list[str] = []
    problems: dict[str, str] = {}
    for clip in clips:
        try:
            keys.append(clip.content())
        except VegasError as error:
            keys.append(clip.name)
            problems[clip.name] = str(error)
    return keys, problems


def _report(clips: Sequence[Clip], keys: Sequence[str], first: Mapping[str, Clip], problems: Mapping[str, str]) -> str:
    """One message about all recordings that cannot be used."""
    lines = []
    for clip, key in zip(clips, keys, strict=True):
        if key in problems:
            same = f"{clip.name} has the same content as {first[key].name}"
            lines.append(f"- {problems[key] if clip is first[key] else same}")
    count = "1 recording" if len(lines) == 1 else f"{len(lines)} recordings"
    rest = [f"- and {len(lines) - BAD_SHOWN} more"] if len(lines) > BAD_SHOWN else []
    return "\n".join([f"{count} cannot be used:", *lines[:BAD_SHOWN], *rest])


class _Embedder:
    """Computes embeddings batch by batch and adds them to the cache."""

    def __init__(self, encoder: AudioEncoder, batch_size: int, max_seconds: float, cache: Cache | None) -> None:
        self._encoder, self._batch_size, self._max_seconds, self._cache = encoder, batch_size, max_seconds, cache
        self.found: dict[str, torch.Tensor] = {}  # by key, [S, D] float16
        self.problems: dict[str, str] = {}  # by key: why a recording cannot be used
        self.cancelled: list[str] = []  # names of recordings of which one channel is used

    def run(self, clips: Mapping[str, Clip], progress: str) -> None:
        """Embed ``clips``, in random order: several processes that embed the same clips share the work."""
        order = list(clips)
        random.SystemRandom().shuffle(order)
        waiting, ahead = deque(order), deque[dict[str, Future[np.ndarray]]]()
        shown = Progress("embeddings", progress, len(clips), "clip", show=bool(progress))
        with shown, ThreadPoolExecutor(READERS) as readers:
            while waiting or ahead:
                while waiting and len(ahead) < 2:  # read the next batch while the network runs
                    batch: dict[str, Future[np.ndarray]] = {}
                    while waiting and len(batch) < self._batch_size:
                        if (key := waiting.popleft()) not in self.found:
                            batch[key] = readers.submit(
                                clips[key].read, self._encoder.rate, self._max_seconds, self.cancelled
                            )
                    ahead.append(batch)
                embeddings = self._encode(ahead.popleft(), clips)
                self.found |= embeddings
                if self._cache and self._cache.add(embeddings):  # see what other processes have written by now
                    self.found |= self._cache.read(clips.keys() - self.found.keys())
                shown.add(len(self.found) + len(self.problems) - shown.done)

    def _encode(self, batch: Mapping[str, Future[np.ndarray]], clips: Mapping[str, Clip]) -> dict[str, torch.Tensor]:
        """The embeddings of the recordings of a batch that can be used."""
        waveforms = {}
        for key, reading in batch.items():
            try:
                waveforms[key] = reading.result()
            except VegasError as error:
                self.problems[key] = str(error)
        if not waveforms:
            return {}
        found = dict(zip(waveforms, self._encoder.encode(list(waveforms.values())).half(), strict=True))
        for key in [key for key, embedding in found.items() if not embedding.isfinite().all()]:
            del found[key]
            self.problems[key] = f"{clips[key].name}: the audio encoder gives values that are not finite for it"
        return found
