"""Audio embeddings of clips, from the cache where it has them."""

from __future__ import annotations

import logging
import os
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vegas_fl.audio import encoders
from vegas_fl.audio.cache import Cache
from vegas_fl.audio.clips import Clip
from vegas_fl.audio.encoders import load_encoder
from vegas_fl.config import EncoderConfig
from vegas_fl.core.errors import AboutRecordings, VegasError

log = logging.getLogger(__name__)

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
