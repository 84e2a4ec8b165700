"""The painter: memory modes, batch sizes, running out of memory, and embeddings that cannot be drawn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

from tests.support.painting import pixels, prompts, renderer, values
from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import memory
from vegas_fl.rendering.painter import Painter

CPU_MODES = ("full", "vae_offload", "group_offload")


@pytest.fixture(scope="module")
def painter() -> Painter:
    """One that draws eight pictures at once."""
    return Painter(renderer(batch_size=8), "cpu")


@pytest.fixture(scope="module")
def plain(painter: Painter) -> np.ndarray:
    """Eight pictures, one batch."""
    return pixels(painter)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[int], bool]], list[int]]]:
    """Let the transformer run out of memory for the batches a rule names; the batches it saw."""

    def arm(fails: Callable[[int], bool]) -> list[int]:
        seen: list[int] = []
        forward = FluxTransformer2DModel.forward

        def scarce(self: Any, hidden_states: torch.Tensor, *args: Any, **options: Any) -> Any:
            seen.append(len(hidden_states))
            if fails(len(hidden_states)):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return forward(self, hidden_states, *args, **options)

        monkeypatch.setattr(FluxTransformer2DModel, "forward", scarce)
        return seen

    yield arm


@pytest.mark.slow
@pytest.mark.parametrize("mode", CPU_MODES[1:])
def test_memory_modes_draw_the_same(mode: str, plain: np.ndarray) -> None:
    drawn = pixels(Painter(renderer(batch_size=8, memory=mode), "cpu"))
    assert np.abs(drawn - plain).max() <= 2


@pytest.mark.parametrize("batch", [1, 3])
def test_batch_sizes_draw_the_same(batch: int, plain: np.ndarray) -> None:
    assert np.abs(pixels(Painter(renderer(batch_size=batch), "cpu")) - plain).max() <= 2


def test_a_picture_does_not_depend_on_its_company(painter: Painter, plain: np.ndarray) -> None:
    """Neither order nor position in the batch changes a value; the number of threads may, by a rounding."""
    conditioning, seeds = prompts(8)
    order = [5, 2, 7, 0, 3]
    for threads, allowed in ((torch.get_num_threads(), 0), (2, 2)):
        with devices.threads(threads):
            images = painter.paint(Conditioning(*(branch[order] for branch in conditioning)), [seeds[i] for i in order])
        assert np.abs(values(images) - plain[order]).max() <= allowed


def test_out_of_memory_halves_the_batch(failing: Any, caplog: pytest.LogCaptureFixture, plain: np.ndarray) -> None:
    painter = Painter(renderer(batch_size=8), "cpu")
    seen = failing(lambda batch: batch > 2)
    with caplog.at_level(logging.WARNING):
        drawn = pixels(painter)
    assert np.abs(drawn - plain).max() <= 2
    assert (painter.batch, painter.mode) == (2, "full")
    assert sorted(set(seen)) == [2, 4, 8]
    assert "out of memory with 8 pictures at once: continuing with 4" in caplog.text


@pytest.mark.slow
def test_out_of_memory_with_one_picture_steps_the_mode_down(
    failing: Any, caplog: pytest.LogCaptureFixture, plain: np.ndarray
) -> None:
    painter = Painter(renderer(batch_size=2), "cpu")
    failing(lambda batch: painter.mode != "group_offload")
    with caplog.at_level(logging.WARNING):
        drawn = pixels(painter, 3)
    assert np.abs(drawn - plain[:3]).max() <= 2
    assert (painter.batch, painter.mode) == (1, "group_offload")
    assert "renderer.memory=full: continuing with vae_offload" in caplog.text


@pytest.mark.slow
def test_out_of_memory_in_every_mode_is_a_sentence(failing: Any) -> None:
    painter = Painter(renderer(batch_size=2), "cpu")
    failing(lambda batch: True)
    with pytest.raises(VegasError, match="Out of memory with one picture of 64x64.*smaller renderer.height"):
        painter.paint(*prompts(2))


def test_other_errors_are_not_taken_for_memory(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(FluxTransformer2DModel, "forward", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        painter.paint(*prompts(2))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: Conditioning(c.clip * float("nan"), c.t5), "clip embeddings hold values that are not finite"),
        (lambda c: Conditioning(c.clip, c.t5 / 0), "t5 embeddings hold values that are not finite"),
        (lambda c: Conditioning(c.clip[:, :60], c.t5), "clip embeddings are 2 x 60.* expects 2 x 64"),
        (lambda c: Conditioning(c.clip, c.t5[..., :32]), "t5 embeddings are 2 x 16 x 32.* expects 2 x T x 64"),
    ],
)
def test_embeddings_that_cannot_be_drawn(
    painter: Painter, change: Callable[[Conditioning], Conditioning], sentence: str
) -> None:
    conditioning, seeds = prompts(2)
    with pytest.raises(VegasError, match=sentence):
        painter.paint(change(conditioning), seeds)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(float("nan"), "not finite"), (float("inf"), "not finite|one flat"), (0.0, "one flat colour")],
)
def test_a_picture_that_shows_nothing_is_refused(
    painter: Painter, monkeypatch: pytest.MonkeyPatch, value: float, sentence: str
) -> None:
    decode = AutoencoderKL.decode

    def broken(self: Any, latents: torch.Tensor, *args: Any, **options: Any) -> Any:
        images = decode(self, latents, *args, **options)[0]
        images[1] = value
        return (images,)

    monkeypatch.setattr(AutoencoderKL, "decode", broken)
    monkeypatch.setattr(painter, "config", renderer(batch_size=8, dtype="float16"))
    names = ["node 0, class dog, dog_0001.png", "node 0, class dog, dog_0002.png"]
    with pytest.raises(VegasError, match=rf"dog_0002.png: .*({sentence}).*renderer.dtype=float32"):
        painter.paint(*prompts(2), names)


@pytest.mark.parametrize(
    ("free", "mode"), [(40, "full"), (25.7, "full"), (25.5, "vae_offload"), (16, "group_offload"), (2, "group_offload")]
)
def test_auto_takes_what_fits_and_says_why(free: float, mode: str) -> None:
    config = renderer(batch_size=8, height=512, width=512, dtype="bfloat16")
    sizes = {"transformer": int(23.8e9), "vae": int(0.17e9)}
    choice = memory.choose(config, "cuda", sizes, int(free * 1e9))
    assert choice.mode == mode
    assert f"{free:.1f} GB are free" in choice.reason and choice.reason.count("GB") >= 2


def test_auto_elsewhere() -> None:
    assert memory.choose(renderer(), "cpu", {"vae": 1}, None).mode == "full"
    assert memory.choose(renderer(low_memory=False), "cuda", {"vae": 10}, 1).mode == "full"
    assert memory.choose(renderer(memory="sequential"), "cuda", {"vae": 10}, 1).mode == "sequential"
    with pytest.raises(VegasError, match="memory=sequential needs a GPU, but the device is cpu"):
        memory.choose(renderer(memory="sequential"), "cpu", {"vae": 1}, None)


def test_quantisation_without_its_package_or_device_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for kind, package in memory.PACKAGES.items():
        with pytest.raises(VegasError, match=f"quantization={kind} needs the package {package}; pip install"):
            memory.quantization(renderer(quantization=kind))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "bytes_a_weight"), [("int8", 1.1), ("fp8", 1.1), ("nf4", 0.6)])
def test_quantised_weights_are_smaller_and_draw_nearly_the_same(
    kind: str, bytes_a_weight: float, plain: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package := memory.PACKAGES.get(kind):
        pytest.importorskip(package, reason=f"needs {package} (an extra of the project)")
    if kind == "nf4" and not torch.cuda.is_available():
        # bitsandbytes can do it on a CPU, diffusers does not let it.
        from diffusers.quantizers.bitsandbytes import BnB4BitDiffusersQuantizer

        monkeypatch.setattr(memory, "quantization_problem", lambda config: None)
        monkeypatch.setattr(BnB4BitDiffusersQuantizer, "validate_environment", lambda *args, **options: None)
        monkeypatch.setattr(BnB4BitDiffusersQuantizer, "update_device_map", lambda *args: {"": "cpu"})
    for mode in CPU_MODES:
        painter = Painter(renderer(batch_size=8, quantization=kind, memory=mode), "cpu")
        weights = sum(parameter.numel() for parameter in Painter(renderer(), "cpu").pipeline.transformer.parameters())
        assert memory.weights(painter.pipeline, ("transformer",))["transformer"] < bytes_a_weight * weights
        assert 0 < np.abs(pixels(painter) - plain).mean() < 8


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (lambda folder: (folder / "vae").rename(folder / "was_vae"), "lacks its component vae"),
        (lambda folder: (folder / "model_index.json").unlink(), "no model_index.json"),
        (lambda folder: [p.unlink() for p in (folder / "vae").glob("*.safetensors")], "vae holds no weights"),
        (
            lambda folder: [p.write_bytes(b"cut") for p in (folder / "vae").glob("*.safetensors")],
            "cannot be opened",
        ),
    ],
)
def test_a_model_folder_that_is_not_whole(broken: Callable[[Path], object], sentence: str, wide: Path) -> None:
    broken(wide)
    with pytest.raises(VegasError, match=sentence):
        Painter(renderer(model=str(wide)), "cpu")


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A pipeline of FLUX.1's true widths (T5 4096, CLIP 768, 64 input channels), one block each, random weights."""
    torch.manual_seed(0)
    blocks = {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 128, "num_attention_heads": 2}
    widths = {"in_channels": 64, "joint_attention_dim": 4096, "pooled_projection_dim": 768}
    transformer = FluxTransformer2DModel(**blocks, **widths, axes_dims_rope=(16, 56, 56), guidance_embeds=True)
    vae = AutoencoderKL(
        **{"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4},
        **{"block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4},
        **{"latent_channels": 16, "sample_size": 1024, "scaling_factor": 0.3611, "shift_factor": 0.1159},
        **dict.fromkeys(("use_quant_conv", "use_post_quant_conv"), False),
    )
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    parts = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    FluxPipeline(scheduler=scheduler, vae=vae, transformer=transformer, **parts).save_pretrained(tmp_path / "wide")
    return tmp_path / "wide"


@pytest.mark.slow
def test_the_widths_of_flux_1_draw_in_every_mode(wide: Path) -> None:
    settings = {"model": str(wide), "height": 256, "width": 256, "guidance_scale": 3.5, "batch_size": 2, "steps": 1}
    embeddings, seeds = prompts(3, clip=768, tokens=17, t5=4096)
    drawn = {}
    for mode in CPU_MODES:
        painter = Painter(renderer(**settings, max_sequence_length=17, memory=mode), "cpu")
        images = painter.paint(embeddings, seeds)
        assert [image.size for image in images] == [(256, 256)] * 3
        drawn[mode] = values(images)
    for mode in CPU_MODES[1:]:
        assert np.abs(drawn[mode] - drawn["full"]).max() <= 2
