"""What only a GPU can tell: the same results as on a CPU, and speed at FLUX.1's full size with random weights.

Needs neither a network nor Flower: it runs from the wheels of `make gpu-bundle` beside an installed PyTorch.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from vegas_fl.algorithm.adapter import Adapter, AdapterShape, Conditioning
from vegas_fl.algorithm.generators import train_generator
from vegas_fl.algorithm.training import train_adapter
from vegas_fl.benchmarks.distillation import distillation
from vegas_fl.config import RendererConfig, compose
from vegas_fl.core import devices, seeds
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import flux
from vegas_fl.rendering.folder import PictureFolder, plan
from vegas_fl.rendering.painter import Painter
from vegas_fl.rendering.render import Writer

Verdict = tuple[str, bool]
"""What was measured, in words, and whether it is as expected."""

AST_TOKENS = 1214
SPEEDS = {(512, 1): (18.0, 25.0), (512, 4): (6.0, 8.5), (1024, 4): (1.2, 1.7)}
"""(width and height, steps) → pictures a second expected of an 80 GB card, as is and compiled."""
GENERATOR = ["generator.prior_components=1"]
"""Mixtures need scikit-learn, which is not among the wheels."""
BATCHES = {512: 16, 1024: 4}


def same_pictures(device: str) -> Iterator[Verdict]:
    """Pictures of the tiny pack on the GPU, against those on the CPU, and twice."""
    ways = [(where, dtype) for where in ("cpu", device) for dtype in ("float32", "bfloat16")]
    drawn = {way: _drawn(*way) for way in ways}
    apart = np.abs(drawn["cpu", "float32"] - drawn[device, "float32"]).max()
    yield f"float32, largest difference between CPU and GPU: {apart:.0f} of 255 (at most 2)", bool(apart <= 2)
    error = np.square(drawn["cpu", "bfloat16"] - drawn[device, "bfloat16"]).mean()
    ratio = 10 * np.log10(255**2 / max(error, 1e-9))
    yield f"bfloat16, CPU against GPU: {ratio:.1f} dB (at least 35)", bool(ratio >= 35)
    again = np.array_equal(drawn[device, "bfloat16"], _drawn(device, "bfloat16"))
    yield f"bfloat16, twice on the GPU: {'the same bytes' if again else 'other bytes'}", again


def _drawn(device: str, dtype: str) -> np.ndarray:
    config = compose([f"renderer.dtype={dtype}"]).renderer
    brush = Painter(config, device)
    return np.stack([np.asarray(image, dtype=np.float64) for image in brush.paint(_random(config, 8), range(8))])


def _random(config: RendererConfig, count: int, shape: tuple[int, int, int] | None = None) -> Conditioning:
    clip, tokens, t5 = shape or flux.text_shape(config)
    draw = seeds.generator("bench gpu")
    return Conditioning(torch.randn(count, clip, generator=draw), torch.randn(count, tokens, t5, generator=draw))


def same_training(device: str) -> Iterator[Verdict]:
    """Losses of an adapter and of a generator at small size, against those on the CPU; and twice."""
    losses = [_losses(where) for where in ("cpu", device, device)]
    for name, value in losses[0].items():
        apart = abs(losses[1][name] / value - 1)
        yield f"{name}, CPU against GPU: {100 * apart:.3f} % apart (at most 1)", apart <= 0.01
    yield "twice on the GPU: the same losses", losses[1] == losses[2]


def _losses(device: str) -> dict[str, float]:
    config, shape = compose(), AdapterShape(audio_tokens=8, audio_width=64, clip_width=32, t5_tokens=4, t5_width=64)
    draw = seeds.generator("bench gpu")
    x, labels = torch.randn(60, 8, 64, generator=draw), torch.arange(60) % 3
    x = x + 2 * torch.randn(3, 8, 64, generator=draw)[labels]
    targets = Conditioning(torch.randn(3, 32, generator=draw), torch.randn(3, 4, 64, generator=draw))
    with seeds.reproducible("bench gpu", threads=1):
        adapter = Adapter(shape, config.adapter, targets).to(device)
        history = train_adapter(adapter, x, labels, targets, config.adapter, 3)
        _, generator = train_generator(x[labels == 0], compose(GENERATOR).generator, device)
    return {"clip_loss": history["clip_loss"], "t5_loss": history["t5_loss"], "nll": generator["nll"]}


def large_training(device: str) -> Iterator[Verdict]:
    """Distillation and a class's generator with AST's tokens."""
    _, seconds, memory = distillation(10, AST_TOKENS, device)
    yield (
        f"distillation, 10 x 200 samples of {AST_TOKENS} tokens: {seconds:.1f} s (< 15), {memory:.1f} GB",
        seconds < 15,
    )
    x = torch.randn(200, AST_TOKENS, 768, generator=seeds.generator("bench gpu"))
    begin = time.perf_counter()
    with seeds.reproducible("bench gpu", threads=devices.cores()):
        train_generator(x, compose(GENERATOR).generator, device)
    seconds = time.perf_counter() - begin
    yield f"a class's generator, 200 clips of {AST_TOKENS} tokens: {seconds:.1f} s (< 10)", seconds < 10


WAYS = (("down", "DownEncoder"), ("up", "UpDecoder"))
VAE: dict[str, Any] = {
    **{"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 16, "sample_size": 1024},
    **{"scaling_factor": 0.3611, "shift_factor": 0.1159, "use_quant_conv": False, "use_post_quant_conv": False},
}
"""FLUX.1's VAE, but for its blocks."""


def full_size(device: str) -> Any:
    """A FluxPipeline with FLUX.1-schnell's shapes and random weights, made on the device in bfloat16."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            transformer = FluxTransformer2DModel(guidance_embeds=False)  # its defaults are FLUX.1's
            vae = AutoencoderKL(**{f"{way}_block_types": (f"{kind}Block2D",) * 4 for way, kind in WAYS}, **VAE)
    finally:
        torch.set_default_dtype(torch.float32)
    pipeline = FluxPipeline(FlowMatchEulerDiscreteScheduler(), vae, None, None, None, None, transformer)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def speed(device: str) -> Iterator[Verdict]:
    """Pictures a second of the 12 B transformer, with PNG files on the disk, as is and compiled."""
    pipeline = full_size(device)
    for compiled in (False, True):
        for (size, steps), goals in SPEEDS.items():
            settings = [f"renderer.height={size}", f"renderer.width={size}", f"renderer.steps={steps}"]
            renderer = compose(
                ["renderer=flux_schnell", *settings, f"renderer.batch_size={BATCHES[size]}", "renderer.memory=full"]
            ).renderer
            with patch.object(flux, "load_pipeline", lambda config: pipeline):
                brush = Painter(renderer, device)
            if compiled and (size, steps) == next(iter(SPEEDS)):
                pipeline.transformer.compile_repeated_blocks()
            rate = _rate(brush, 6)
            what = f"{size}x{size}, {steps} steps, {'compiled' if compiled else 'as is'}"
            peak = torch.cuda.max_memory_allocated() / 1e9
            yield f"{what}: {rate:.1f} pictures/s (>= {goals[compiled]:g}), {peak:.1f} GB", rate >= goals[compiled]


def _rate(brush: Painter, batches: int) -> float:
    """Pictures a second, after one batch that warms up."""
    count = brush.batch
    embeddings = _random(brush.config, count, (768, 17, 4096))
    brush.paint(embeddings, range(count))
    with tempfile.TemporaryDirectory() as scratch:
        folder = PictureFolder(Path(scratch), {"dog": {"node": "0"}})
        pictures = plan(0, "0", ["dog"], count * batches)
        begin = time.perf_counter()
        with Writer(folder, brush, {}, len(pictures), lambda done: None) as writer:
            for start in range(0, len(pictures), count):
                part = pictures[start : start + count]
                writer.add(part, brush.paint(embeddings, [picture.seed for picture in part]))
        return len(pictures) / (time.perf_counter() - begin)


CHECKS: dict[str, Callable[[str], Iterator[Verdict]]] = {
    "pictures": same_pictures,
    "training": same_training,
    "large training": large_training,
    "speed": speed,
}


def lacking() -> str | None:
    """Why there is nothing to measure here, or None."""
    if torch.cuda.is_available():
        return None
    return f"torch {torch.__version__} finds no CUDA device on this machine"


def bench() -> Iterator[Verdict]:
    """All checks.

    Raises
    ------
    VegasError
        No GPU is available.
    """
    if reason := lacking():
        raise VegasError(f"bench gpu needs a GPU: {reason}; run it where one is (make gpu-bundle packs what it needs)")
    yield f"{torch.cuda.get_device_name()}, torch {torch.__version__}", True
    for name, check in CHECKS.items():
        try:
            for what, good in check("cuda"):
                yield f"{name}: {what}", good
        except (RuntimeError, VegasError) as error:
            yield f"{name}: failed with {type(error).__name__}: {error}", False
