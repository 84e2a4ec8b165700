"""What embedding costs: a first pass over toy clips by one or several processes, and a second one from the cache."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import torch

from vegas_fl.clips import Clip
from vegas_fl.config import EncoderConfig, compose
from vegas_fl.datasets.toy import Toy
from vegas_fl.embeddings import embed

MAX_SECONDS = 5.0


def clips(count: int) -> list[Clip]:
    """``count`` toy clips, of all classes."""
    toy = Toy(-(-count // 10))
    return [clip for label in toy.classes for clip in toy.clips(label)][:count]


def one_pass(count: int, cache: Path, progress: bool) -> float:
    """Seconds that a pass takes in this process, one thread."""
    torch.set_num_threads(1)
    config: EncoderConfig = compose().encoder
    start = time.perf_counter()
    embed(clips(count), config, cache_dir=cache, max_seconds=MAX_SECONDS, progress=progress)
    return time.perf_counter() - start


def bench(count: int, processes: int, cache: Path) -> list[str]:
    """The figures, as lines of text. ``cache`` should be empty."""
    start = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=one_pass, args=(count, cache, n == 0)) for n in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    first = time.perf_counter() - start
    second = one_pass(count, cache, progress=False)
    shards = list(cache.rglob("*.safetensors"))
    size = sum(path.stat().st_size for path in shards)
    return [
        f"{count} toy clips, {processes} processes of one thread: {first:.1f} s, {count / first:.1f} clips/s",
        f"second pass: {second:.2f} s, {first / second:.0f} times faster",
        f"{len(shards)} shards, {size / count:.0f} bytes a clip",
    ]
