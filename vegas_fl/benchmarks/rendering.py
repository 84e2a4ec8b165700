"""Pictures per second, against plain loops over ``FluxPipeline`` with the same embeddings, and peak memory."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPipeline

from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.benchmarks.runs import apart, peak_bytes
from vegas_fl.config import Config, RendererConfig
from vegas_fl.core import devices, seeds
from vegas_fl.rendering import flux, memory
from vegas_fl.rendering.components import TEXT_PARTS
from vegas_fl.rendering.folder import Picture, plan
from vegas_fl.rendering.jobs import Job
from vegas_fl.rendering.painter import rendering_threads
from vegas_fl.rendering.render import render as draw

COUNTS = (50, 2000)
"""Numbers of pictures whose peak memory is compared."""


def random_feed(config: RendererConfig, pictures: Sequence[Picture]) -> Conditioning:
    """Random embeddings of the right shape, from the pictures' seeds."""
    clip, tokens, t5 = flux.text_shape(config)
    generators = [seeds.generator(picture.seed, "bench") for picture in pictures]
    return Conditioning(
        torch.stack([torch.randn(clip, generator=g) for g in generators]),
        torch.stack([torch.randn(tokens, t5, generator=g) for g in generators]),
    )


def ours(config: Config, count: int, folder: Path) -> None:
    """Draw ``count`` pictures as a node does."""
    pictures = plan(config.seed, "0", ["dog", "drum"], count)
    recipes: dict[str, dict[str, Any]] = {"dog": {"node": "0"}, "drum": {"node": "0"}}
    job = Job("0", folder, pictures, lambda part: random_feed(config.renderer, part), recipes, files={})
    draw(job, config, devices.resolve_device(config.device))


def loop(config: Config, pipeline: Any, batch: int, count: int, folder: Path) -> None:
    """Draw ``count`` pictures by calling the pipeline, and save them."""
    renderer = config.renderer
    pictures = plan(config.seed, "0", ["dog", "drum"], count)
    folder.mkdir(parents=True)
    for start in range(0, count, batch):
        part = pictures[start : start + batch]
        embeddings = random_feed(renderer, part)
        images = pipeline(
            prompt_embeds=embeddings.t5.to(pipeline.device, pipeline.transformer.dtype),
            pooled_prompt_embeds=embeddings.clip.to(pipeline.device, pipeline.transformer.dtype),
            height=renderer.height,
            width=renderer.width,
            num_inference_steps=renderer.steps,
            guidance_scale=renderer.guidance_scale,
            max_sequence_length=renderer.max_sequence_length,
            generator=[torch.Generator().manual_seed(picture.seed) for picture in part],
        ).images
        for picture, image in zip(part, images, strict=True):
            image.save(folder / picture.name)


def speed(config: Config, count: int, repeats: int) -> Iterator[str]:
    """Pictures per second of each way, measured in turns, so that other work on the machine slows all of them. All
    write their pictures; contact sheets and the judge are left out."""
    renderer = config.renderer
    batch = memory.most_at_once(renderer, devices.resolve_device(config.device))
    pipeline = FluxPipeline.from_pretrained(
        flux.location(renderer),
        revision=renderer.revision,
        dtype=getattr(torch, renderer.dtype),
        **dict.fromkeys(TEXT_PARTS),
    ).to(devices.resolve_device(config.device))
    pipeline.set_progress_bar_config(disable=True)
    ways: dict[str, Callable[[Path], None]] = {
        "vegas-fl": lambda folder: ours(config, count, folder),
        f"plain loop, {batch} at once": lambda folder: loop(config, pipeline, batch, count, folder),
        "plain loop, one by one": lambda folder: loop(config, pipeline, 1, count, folder),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as scratch, rendering_threads(renderer):
        for turn in range(-1, repeats):
            for name, way in ways.items():
                begin = time.perf_counter()
                way(Path(scratch) / f"{name} {turn}")
                if turn >= 0:  # the first turn warms up
                    rates[name].append(count / (time.perf_counter() - begin))
    what = f"{renderer.model}, {renderer.width}x{renderer.height}, {renderer.steps} steps"
    yield f"pictures a second: {what}, {count} pictures, median of {repeats}"
    mine = rates["vegas-fl"]
    for name, values in rates.items():
        ratio = statistics.median(a / b for a, b in zip(mine, values, strict=True))
        yield f"  {name:<26}{statistics.median(values):>8.2f}    vegas-fl is {ratio:.2f} times as fast"


def peak_memory(config: Config) -> Iterator[str]:
    """Peak resident memory of processes that draw few and many pictures."""
    peaks = []
    for count in COUNTS:
        peaks.append(apart(_drawing_peak, config, count) / 1e9)
        yield f"peak memory of {count} pictures: {peaks[-1]:.3f} GB"
    yield f"  {100 * (peaks[1] / peaks[0] - 1):+.1f} %"


def _drawing_peak(config: Config, count: int) -> int:
    """Peak memory of this process after it drew ``count`` pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        ours(config, count, Path(scratch) / "pictures")
    return peak_bytes()
