"""Models load strictly: what is missing, or another model's, is named before any work."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import vegas_tiny
from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import flux, judge
from vegas_fl.rendering.text_targets import text_targets
from vegas_fl.runs import preflight


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the tiny FLUX."""
    shutil.copytree(vegas_tiny.path("flux"), tmp_path / "flux")
    return tmp_path / "flux"


def edit(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def drop(part: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        edit(next((folder / part).glob("*.safetensors")), lambda tensors: tensors.pop(sorted(tensors)[3]))

    return change


def another(part: str, **values: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / part / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


MISTAKES: list[tuple[Callable[[Path], object], str]] = [
    (drop("text_encoder"), "text_encoder does not hold the weights.*lacks"),
    (drop("text_encoder_2"), "text_encoder_2 does not hold the weights.*lacks"),
    (drop("transformer"), "transformer does not hold the weights.*lacks"),
    (drop("vae"), "vae does not hold the weights.*lacks"),
    (another("transformer", guidance_embeds=True), "transformer does not hold.*lacks time_text_embed.guidance"),
    (another("text_encoder", intermediate_size=96), "text_encoder does not hold.*other shapes of"),
    (another("transformer", num_layers=1), "transformer does not hold.*also holds transformer_blocks"),
    (lambda folder: (folder / "tokenizer" / "tokenizer.json").unlink(), "tokenizer holds no vocabulary"),
    (lambda folder: (folder / "tokenizer_2" / "tokenizer.json").unlink(), "tokenizer_2 holds no vocabulary"),
    (
        lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").write_text("version https://git-lfs"),
        "is a Git LFS pointer",
    ),
    (lambda folder: (folder / "text_encoder" / "config.json").unlink(), "config.json is missing"),
]


@pytest.mark.parametrize(("spoil", "sentence"), MISTAKES)
def test_a_spoilt_model_is_refused_before_any_work(model: Path, spoil: Callable[[Path], object], sentence: str) -> None:
    spoil(model)
    config = compose([f"renderer.model={model}"])
    told = "\n".join(preflight.check(config, nodes_are_here=True))
    assert re.search(rf"renderer\.model={model}.*{sentence}", told), told


@pytest.mark.parametrize(("spoil", "sentence"), [MISTAKES[i] for i in (0, 2, 3, 4, 5)])
def test_a_spoilt_model_does_not_load(
    model: Path, spoil: Callable[[Path], object], sentence: str, tmp_path: Path
) -> None:
    spoil(model)
    renderer = compose([f"renderer.model={model}"]).renderer
    with pytest.raises(VegasError, match=sentence) as told:
        if "text" in sentence and "time_text" not in sentence:
            text_targets(["dog", "drum"], renderer, tmp_path / "cache", "cpu")
        else:
            flux.load_pipeline(renderer)
    assert "renderer.memory" not in str(told.value)


def test_a_whole_model_has_no_problem(model: Path) -> None:
    (model / "vae" / ".DS_Store").write_text("x")
    renderer = compose([f"renderer.model={model}"]).renderer
    assert flux.incomplete(renderer, (*flux.PICTURE_PARTS, *flux.TEXT_PARTS, "scheduler"), strict=True) is None
    assert flux.picture_fingerprint(renderer) == flux.picture_fingerprint(compose([]).renderer)
    pipeline = flux.load_pipeline(compose([f"renderer.model={model}", "renderer.dtype=bfloat16"]).renderer)
    assert (pipeline.transformer.dtype, pipeline.vae.dtype) == (torch.bfloat16, torch.bfloat16)


def test_classes_with_nearly_the_same_target_are_refused(model: Path, tmp_path: Path) -> None:
    def same(tensors: dict[str, torch.Tensor]) -> None:
        for name in tensors:
            if "embed" in name:
                tensors[name][:] = tensors[name][:1]

    edit(model / "text_encoder" / "model.safetensors", same)
    renderer = compose([f"renderer.model={model}"]).renderer
    with pytest.raises(VegasError, match=r"'a photo of a d\w+' and 'a photo of a d\w+' have nearly the same .*clip"):
        text_targets(["dog", "drum"], renderer, tmp_path / "cache", "cpu")
    known = text_targets(["rail_transport", "train", "dog"], compose([]).renderer, tmp_path / "cache", "cpu")
    assert torch.equal(known.clip[0], known.clip[1])  # synonyms


def test_text_encoders_run_on_the_cpu_where_they_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vegas_fl.core import devices

    monkeypatch.setattr(devices, "free_bytes", lambda device: 10**9)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    renderer = compose([]).renderer
    found = text_targets(["dog", "drum"], renderer, tmp_path / "a", "cuda")
    assert torch.equal(found.t5, text_targets(["dog", "drum"], renderer, tmp_path / "b", "cpu").t5)


def test_a_judge_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(vegas_tiny.path("clip"), folder)
    assert judge.judge_problem(str(folder)) is None
    edit(folder / "model.safetensors", lambda tensors: tensors.pop(sorted(tensors)[5]))
    assert "does not hold the weights" in str(judge.judge_problem(str(folder)))
    (folder / "tokenizer.json").unlink()
    assert "holds no vocabulary" in str(judge.judge_problem(str(folder)))
