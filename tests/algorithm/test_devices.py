"""Everything that computes, walked on a pretended GPU, with all else on the CPU, as in a run."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

from tests.support.fake_device import GPU, WAITS, pretended_gpu
from tests.support.memory import RAN_OUT, scarce
from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Adapter, AdapterShape, Conditioning
from vegas_fl.algorithm.distillation import distil, distillation_targets, text_replay
from vegas_fl.algorithm.generators import build_sampler, train_generator
from vegas_fl.algorithm.generators.vae import VAE, VAESampler
from vegas_fl.algorithm.training import adapt, train_adapter
from vegas_fl.config import StudentConfig, compose
from vegas_fl.core import devices
from vegas_fl.rendering.folder import Picture
from vegas_fl.rendering.jobs import AdapterFeed

CONFIG = compose()
SHAPE = AdapterShape(audio_tokens=5, audio_width=24, clip_width=16, t5_tokens=3, t5_width=32)
CLASSES = ["cat", "dog", "owl"]


def targets(rows: int = 3) -> Conditioning:
    return Conditioning(torch.randn(rows, 16), torch.randn(rows, 3, 32))


def audio(rows: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, 5, 24).to(dtype)


def local_training(gpu: str, own: bool) -> None:
    adapter = Adapter(SHAPE, CONFIG.adapter).to(gpu)
    labels = torch.zeros(20, dtype=torch.long)
    train_adapter(adapter, audio(20), labels, targets(), CONFIG.adapter, 2, targets(20) if own else None)
    assert adapter.device.type == gpu
    assert {value.device.type for value in adapter.cpu().state_dict().values()} == {"cpu"}


def distillation(gpu: str, reduce: str) -> None:
    settings = CONFIG.aggregation
    assert isinstance(settings, StudentConfig)
    x = audio(24, torch.float16)
    samples = dict(zip(CLASSES, x.split(8), strict=True))
    teachers = [(lambda: Adapter(SHAPE, CONFIG.adapter).to(gpu), dict.fromkeys(CLASSES, 2.0)) for _ in range(2)]
    seen, wanted = (
        text_replay(samples, CLASSES, targets())
        if reduce == "text"
        else distillation_targets(samples, teachers, reduce)  # type: ignore[arg-type]
    )
    assert {part.device.type for part in (seen, *wanted)} == {"cpu"}
    distil(
        Adapter(SHAPE, CONFIG.adapter).to(gpu),
        seen,
        wanted,
        settings.model_copy(update={"epochs": 3, "batch_size": 12}),
        targets(),
    )


def generator_training(gpu: str) -> None:
    model, _ = train_generator(audio(6), CONFIG.generator.model_copy(update={"epochs": 2}), gpu)
    assert isinstance(model, VAE)
    assert {value.device.type for value in model.state_dict().values()} == {"cpu"}


def sampling(gpu: str) -> None:
    sampler = build_sampler(5, 24, CONFIG.generator).to(gpu)
    assert sampler.sample(40, generator=torch.Generator()).device.type == "cpu"


def evaluation(gpu: str) -> None:
    outputs = adapt(Adapter(SHAPE, CONFIG.adapter).to(gpu), audio(70))
    assert {branch.device.type for branch in outputs} == {"cpu"}
    metrics.classify(outputs, targets())
    metrics.closeness(outputs, targets(), torch.zeros(70, dtype=torch.long))


def feeding(gpu: str) -> None:
    sampler = build_sampler(5, 24, CONFIG.generator).to(gpu)
    feed = AdapterFeed(
        lambda picture: sampler.sample(1, generator=torch.Generator()),
        Adapter(SHAPE, CONFIG.adapter).to(gpu),
        {},
        CONFIG.conditioning,
        4,
    )
    pictures = [Picture("cat", index, index) for index in range(6)]
    assert {branch.device.type for branch in feed(pictures)} == {"cpu"}


def drawing(gpu: str) -> None:
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    vae = AutoencoderKL(block_out_channels=[8], norm_num_groups=4, latent_channels=4, shift_factor=0.1)
    pipeline = FluxPipeline(FlowMatchEulerDiscreteScheduler(), vae, None, None, None, None, transformer).to(gpu)
    wanted = Conditioning(*(branch.to(gpu) for branch in targets()))
    drawn = pipeline(
        prompt_embeds=wanted.t5,
        pooled_prompt_embeds=wanted.clip,
        generator=[torch.Generator().manual_seed(seed) for seed in range(3)],
        **{"height": 16, "width": 16, "num_inference_steps": 1, "guidance_scale": 0.0, "output_type": "pt"},
    ).images
    assert drawn.device.type == gpu


def walked(walk: Callable[[str], None]) -> list[str]:
    """The reads of values on the pretended GPU."""
    with pretended_gpu() as gpu:
        walk(gpu)
    return list(WAITS)


def full(walk: Callable[[str], None]) -> list[str]:
    """What is logged on a pretended GPU that has no room for any input."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices.log, "warning", lambda text, *values: said.append(text % values))
        for kind, method in ((Adapter, "forward"), (VAE, "forward"), (VAESampler, "decode")):
            scarce(patch, kind, method, RAN_OUT[0], lambda x: x.device.type == GPU)
        with pretended_gpu() as gpu:
            walk(gpu)
    return said


@pytest.fixture(scope="module")
def apart() -> Iterator[ProcessPoolExecutor]:
    """A process of its own, because torch keeps a pretended device once it is there; not forked, because torch's engine
    knows only the devices that were there when it first went backwards."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize(
    ("walk", "waits"),
    [
        pytest.param(partial(local_training, own=False), 2, id="local training"),
        pytest.param(partial(local_training, own=True), 2, id="local training with targets of the clips"),
        pytest.param(partial(distillation, reduce="mean"), 2, id="distillation"),
        pytest.param(partial(distillation, reduce="median"), 2, id="distillation from medians"),
        pytest.param(partial(distillation, reduce="text"), 2, id="replay"),
        pytest.param(generator_training, 4, id="training of a generator"),
        pytest.param(sampling, 4, id="sampling"),
        pytest.param(evaluation, 0, id="evaluation"),
        pytest.param(feeding, 6, id="the renderer's feed"),
        pytest.param(drawing, None, id="drawing"),
    ],
)
def test_on_a_gpu(apart: ProcessPoolExecutor, walk: Callable[[str], None], waits: int | None) -> None:
    """No two devices meet, and the number of times that the GPU is waited for does not grow with the steps."""
    reads = apart.submit(walked, walk).result()
    assert waits is None or len(reads) <= waits, reads


@pytest.mark.parametrize(
    "walk",
    [
        pytest.param(partial(distillation, reduce="mean"), id="distillation", marks=pytest.mark.slow),
        pytest.param(evaluation, id="evaluation", marks=pytest.mark.slow),
        pytest.param(generator_training, id="training of a generator"),
        pytest.param(sampling, id="sampling"),
        pytest.param(feeding, id="the renderer's feed"),
    ],
)
def test_on_a_full_gpu(apart: ProcessPoolExecutor, walk: Callable[[str], None]) -> None:
    """The CPU does it, and it is told."""
    assert "continuing on the CPU" in apart.submit(full, walk).result()[-1]
