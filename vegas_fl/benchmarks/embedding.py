"""What embedding costs, and whether the cache stays what it is: toy clips by several processes at once, again from the
cache, by one process, and by one that is killed time and again."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import random
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from safetensors import safe_open
from tqdm import tqdm

from vegas_fl.audio import cache as cache_module
from vegas_fl.audio import embeddings
from vegas_fl.audio.clips import Clip
from vegas_fl.config import EncoderConfig, compose
from vegas_fl.data.datasets.toy import Toy

MAX_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes
    ----------
    clips, processes : int
        How many clips were embedded, and by how many processes at once.
    first, second, alone : float
        Seconds of the first pass by all processes, of the second one from the cache, of a first pass by one process.
    bytes_each : float
        Size of the cache on disk, by clip.
    shards : int
        Files of the cache.
    kept : tuple of int
        Clips that the cache had after each kill.
    resumed : float
        Seconds of the pass that was not killed any more.
    shared_is_same, killed_is_same : bool
        Whether the caches of the processes at once, and of the killed ones, hold the same as that of one process.
    """

    clips: int
    processes: int
    first: float
    second: float
    alone: float
    bytes_each: float
    shards: int
    kept: tuple[int, ...]
    resumed: float
    shared_is_same: bool
    killed_is_same: bool

    def __str__(self) -> str:
        same = {True: "the same cache as by one", False: "NOT the same cache as by one"}
        return "\n".join(
            [
                f"{self.clips} toy clips, {self.processes} processes of one thread at once: {self.first:.1f} s, "
                f"{self.clips / self.first:.1f} clips/s, {same[self.shared_is_same]}",
                f"one process: {self.alone:.1f} s, {self.clips / self.alone:.1f} clips/s",
                f"second pass: {self.second:.2f} s, {self.first / self.second:.0f} times faster",
                f"{self.shards} shards, {self.bytes_each:.0f} bytes a clip",
                f"killed {len(self.kept)} times, having {', '.join(map(str, self.kept))} clips; the rest in "
                f"{self.resumed:.1f} s: {same[self.killed_is_same]}",
            ]
        )


def measure(
    count: int, processes: int, kills: int, folder: Path, *, shard_seconds: float = cache_module.SHARD_SECONDS
) -> Figures:
    """Embed ``count`` toy clips in every way, each into an empty cache of its own in ``folder``.

    Parameters
    ----------
    count, processes, kills : int
        Clips; processes that embed the same clips at once; how often a process is killed (SIGKILL) before one may end.
    folder : Path
    shard_seconds : float
        Age at which a shard is written: what a killed process loses at most.
    """
    context = multiprocessing.get_context("spawn")
    shared, alone, killed = (folder / name for name in ("shared", "alone", "killed"))
    with context.Pool(processes) as pool:
        times = pool.starmap(one_pass, [(count, shared, shard_seconds)] * processes, chunksize=1)
    first = max(end for _, end in times) - min(start for start, _ in times)
    log.info("%d processes at once: %.1f s", processes, first)
    start, end = one_pass(count, shared, shard_seconds)
    second = end - start
    log.info("from the cache: %.2f s", second)
    with context.Pool(1) as pool:
        start, end = pool.apply(one_pass, (count, alone, shard_seconds))
    lasted = end - start
    log.info("one process: %.1f s", lasted)
    kept = tuple(_killed_at(moment, count, killed, shard_seconds) for moment in _moments(kills, lasted))
    with context.Pool(1) as pool:
        start, end = pool.apply(one_pass, (count, killed, shard_seconds))
    whole, shards = contents(alone), list(shared.rglob("*.safetensors"))
    return Figures(
        count,
        processes,
        first,
        second,
        lasted,
        sum(path.stat().st_size for path in shards) / count,
        len(shards),
        kept,
        end - start,
        contents(shared) == whole and len(whole) == count,
        contents(killed) == whole and len(whole) == count,
    )


def one_pass(count: int, cache: Path, shard_seconds: float, started: Connection | None = None) -> tuple[float, float]:
    """Embed ``count`` toy clips in this process, with one thread; when it started and ended, by the system's clock."""
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own lock's semaphore would outlive a process that is killed
    cache_module.SHARD_SECONDS = shard_seconds
    config: EncoderConfig = compose().encoder
    if started:
        started.send(True)
    start = time.monotonic()
    embeddings.embed(_clips(count), config, cache_dir=cache, max_seconds=MAX_SECONDS)
    return start, time.monotonic()


def _clips(count: int) -> list[Clip]:
    """``count`` toy clips, of all classes."""
    toy = Toy(-(-count // 10))
    return [clip for label in toy.classes for clip in toy.clips(label)][:count]


def _moments(kills: int, lasted: float) -> list[float]:
    """How long each process may work before it is killed: anything, but on average not all of the work."""
    return [random.uniform(0, 2 * lasted / (kills + 1)) for _ in range(kills)]


def _killed_at(moment: float, count: int, cache: Path, shard_seconds: float) -> int:
    """Kill a process that has embedded for ``moment`` seconds; how many clips the cache has then."""
    context = multiprocessing.get_context("spawn")
    heard, started = context.Pipe(duplex=False)
    worker = context.Process(target=one_pass, args=(count, cache, shard_seconds, started))
    worker.start()
    heard.recv()
    worker.join(moment)
    worker.kill()
    worker.join()
    kept = len(contents(cache))
    log.info("killed after %.1f s: the cache has %d clips", moment, kept)
    return kept


def contents(cache: Path) -> dict[str, str]:
    """All a cache holds, whatever shards it is in: key → hash of the embedding."""
    held = {}
    for path in cache.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as shard:
            for key in shard.keys():  # noqa: SIM118
                held[key] = hashlib.sha256(shard.get_tensor(key).numpy().tobytes()).hexdigest()
    return held
