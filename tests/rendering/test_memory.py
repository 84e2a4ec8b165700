"""Memory: what auto chooses on each card, and blocks that stream."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.support.painting import pixels, renderer
from tests.support.project import ROOT
from vegas_fl.config import compose
from vegas_fl.core import devices
from vegas_fl.rendering import memory
from vegas_fl.rendering.painter import Painter
from vegas_fl.rendering.streaming import Streaming
from vegas_fl.rendering.verify import CLOSE, psnr

PARAMETERS = 11_891_178_560
VAE = 167_640_000


def sizes(quantization: str) -> dict[str, int]:
    return {"transformer": int(PARAMETERS * memory.SHARE.get(quantization, 2)), "vae": VAE}


def test_the_table_of_cards_is_what_auto_chooses() -> None:
    """Of the table in docs/runs.md: card, side of a picture, quantization, mode, share in main memory, batch."""
    rows = re.findall(
        r"^\| (\d+) GB \| (\d+) \| `(\w+)` \| `(\w+)`(?:, (\d+) % streamed)? \| (\d+) \|$",
        (ROOT / "docs" / "runs.md").read_text("utf8"),
        re.MULTILINE,
    )
    assert {row[0] for row in rows} == {"8", "12", "16", "24", "48", "80"}
    for card, side, quantization, mode, streamed, batch in rows:
        config = compose(
            ["renderer=flux_schnell", *(f"renderer.{key}={side}" for key in ("height", "width"))]
        ).renderer.model_copy(update={"quantization": quantization})
        choice = memory.choose(config, "cuda", sizes(quantization), int((float(card) * 1.0737 - 0.6) * 1e9))
        assert (choice.mode, choice.batch) == (mode, int(batch)), (card, side, quantization, choice)
        assert round(100 * choice.streamed) == int(streamed or 0)


@pytest.mark.parametrize("card", [8, 12, 16, 24, 48, 80])
@pytest.mark.parametrize("batch", ["auto", "1", "8"])
def test_what_auto_chooses_fits(card: int, batch: str) -> None:
    config = compose(["renderer=flux_schnell", f"renderer.batch_size={batch}"]).renderer
    free = int(card * 1e9)
    choice = memory.choose(config, "cuda", sizes("none"), free)
    needs = memory.Needs.of(config, sizes("none"))
    assert choice.streamed == 1 or needs.bytes(choice.batch, choice.mode, choice.streamed) <= free


def test_batches_are_as_large_as_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    config = renderer(batch_size="auto")
    assert memory.choose(config, "cpu", sizes("none"), None).batch == memory.most_at_once(config, "cpu") > 1
    assert Painter(config, "cpu").batch > 1


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [0.0, 0.3, 1.0])
def test_streamed_blocks_draw_the_same_and_return_to_main_memory(streamed: float) -> None:
    plain, ours = (Painter(renderer(batch_size=2, memory="full"), "cpu") for _ in range(2))
    before = {name: value.clone() for name, value in ours.pipeline.transformer.state_dict().items()}
    streaming = Streaming(ours.pipeline.transformer, "cpu", streamed)
    held = sum(tensor.nbytes for home in streaming._home for _, tensor in home)
    blocks = [*ours.pipeline.transformer.transformer_blocks, *ours.pipeline.transformer.single_transformer_blocks]
    total = sum(weight.nbytes for block in blocks for weight in block.parameters())
    assert streamed * total <= held <= streamed * total + total / 3
    assert np.array_equal(pixels(ours, 4), pixels(plain, 4))
    assert all(torch.equal(before[name], value) for name, value in ours.pipeline.transformer.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_how_close_pictures_are_by_type(dtype: str) -> None:
    """The same bytes at the same batch size, close ones at another."""
    drawn = [pixels(Painter(renderer(batch_size=size, dtype=dtype), "cpu"), 4) for size in (4, 4, 1)]
    assert np.array_equal(drawn[0], drawn[1])
    assert min(psnr(one, other) for one, other in zip(drawn[0], drawn[2], strict=True)) >= CLOSE[dtype]


def test_weights_that_do_not_fit_step_the_mode_down(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from vegas_fl.rendering import flux

    load, failed = flux.load_pipeline, []

    def scarce(config: object, device: str = "cpu") -> object:
        if not failed:
            failed.append(device)
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return load(config, device)  # type: ignore[arg-type]

    monkeypatch.setattr(flux, "load_pipeline", scarce)
    assert Painter(renderer(batch_size=2), "cpu").mode == "vae_offload"
    assert "out of memory with the weights" in caplog.text
    assert devices.free_bytes("cpu") is None


@pytest.mark.slow
def test_no_mode_mixes_devices() -> None:
    """On a pretended GPU, where a tensor of another device is an error."""
    choices = ["full", "vae_offload", "group_offload:0.5", "group_offload:1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.pretended", *choices], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.findall(r"main memory: (\d)", done.stdout) == ["0", "0", "2", "4"], done.stdout
