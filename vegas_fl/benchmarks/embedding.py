"""The cost of embedding, and whether the cache stays intact: toy clips are embedded by several processes at once, again
from the cache, by one process, and by one that is killed repeatedly."""

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
from vegas_fl.benchmarks.runs import apart
from vegas_fl.config import EncoderConfig, compose
from vegas_fl.data.datasets.toy import Toy

MAX_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddingBenchmark:
    """The measurements; times are in seconds."""

    clips: int
    processes: int
    first: float  # pass by all processes at once
    second: float  # pass, from the cache
    alone: float  # first pass by one process
    bytes_each: float  # size of the cache on disk, per clip
    shards: int  # files of the cache
    kept: tuple[int, ...]  # clips in the cache after each kill
    resumed: float  # last pass, which was not killed
    shared_is_same: bool  # whether the cache of all processes holds the same as that of one
    killed_is_same: bool  # whether the cache of the killed processes does

    def __str__(self) -> str:
        same = {True: "the same cache as one process", False: "NOT the same cache as one process"}
        return "\n".join(
            [
                f"{self.clips} toy clips, {self.processes} processes of one thread at once: {self.first:.1f} s, "
                f"{self.clips / self.first:.1f} clips/s, {same[self.shared_is_same]}",
                f"one process: {self.alone:.1f} s, {self.clips / self.alone:.1f} clips/s",
                f"second pass: {self.second:.2f} s, {self.first / self.second:.0f} times faster",
                f"{self.shards} shards, {self.bytes_each:.0f} bytes per clip",
                f"killed {len(self.kept)} times, with {', '.join(map(str, self.kept))} clips in the cache; the rest in "
                f"{self.resumed:.1f} s: {same[self.killed_is_same]}",
            ]
        )


def measure(
    count: int, processes: int, kills: int, folder: Path, *, shard_seconds: float = cache_module.SHARD_SECONDS
) -> EmbeddingBenchmark:
    """Embed ``count`` toy clips in every way, each into an empty cache of its own in ``folder``.

    ``processes`` embed the same clips at once; ``kills`` processes get SIGKILL before one may finish. A shard is
    written after ``shard_seconds``, which is the most work that a killed process loses.
    """
    context = multiprocessing.get_context("spawn")
    shared, alone, killed = (folder / name for name in ("shared", "alone", "killed"))
    with context.Pool(processes) as pool:
        times = pool.starmap(one_pass, [(count, shared, shard_seconds)] * processes, chunksize=1)
    first = max(end for _, end in times) - min(start for start, _ in times)
    log.info("%d processes at once: %.1f s", processes, first)
    second = _seconds(one_pass(count, shared, shard_seconds))
    log.info("from the cache: %.2f s", second)
    lasted = _seconds(apart(one_pass, count, alone, shard_seconds))
    log.info("one process: %.1f s", lasted)
    # Each works for a random time, on average not long enough to finish all together.
    moments = [random.uniform(0, 2 * lasted / (kills + 1)) for _ in range(kills)]
    kept = tuple(_killed_at(moment, count, killed, shard_seconds) for moment in moments)
    resumed = _seconds(apart(one_pass, count, killed, shard_seconds))
    whole, shards = contents(alone), list(shared.rglob("*.safetensors"))
    return EmbeddingBenchmark(
        clips=count,
        processes=processes,
        first=first,
        second=second,
        alone=lasted,
        bytes_each=sum(path.stat().st_size for path in shards) / count,
        shards=len(shards),
        kept=kept,
        resumed=resumed,
        shared_is_same=contents(shared) == whole and len(whole) == count,
        killed_is_same=contents(killed) == whole and len(whole) == count,
    )


def one_pass(count: int, cache: Path, shard_seconds: float, started: Connection | None = None) -> tuple[float, float]:
    """Embed ``count`` toy clips in this process, with one thread; the times of start and end by the system's clock."""
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # the semaphore of its own lock would outlive a killed process
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


def _seconds(times: tuple[float, float]) -> float:
    return times[1] - times[0]


def _killed_at(moment: float, count: int, cache: Path, shard_seconds: float) -> int:
    """Kill a process that has embedded for ``moment`` seconds; the number of clips then in the cache."""
    context = multiprocessing.get_context("spawn")
    parent, started = context.Pipe(duplex=False)
    worker = context.Process(target=one_pass, args=(count, cache, shard_seconds, started))
    worker.start()
    parent.recv()
    worker.join(moment)
    worker.kill()
    worker.join()
    kept = len(contents(cache))
    log.info("killed after %.1f s: the cache has %d clips", moment, kept)
    return kept


def contents(cache: Path) -> dict[str, str]:
    """Everything in a cache, whatever its shards: key → hash of the embedding."""
    held = {}
    for path in cache.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as shard:
            for key in shard.keys():  # noqa: SIM118
                held[key] = hashlib.sha256(shard.get_tensor(key).numpy().tobytes()).hexdigest()
    return held
