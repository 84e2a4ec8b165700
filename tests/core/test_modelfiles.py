"""The files of a model as they come from people's disks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vegas_fl.core import modelfiles
from vegas_fl.core.modelfiles import Incomplete

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def weights(path: Path) -> None:
    save_file({"a": torch.ones(2, 3)}, path)


def test_weights_are_found_whole_and_in_shards(tmp_path: Path) -> None:
    weights(tmp_path / "model.safetensors")
    weights(tmp_path / "model.fp16.safetensors")
    assert modelfiles.weight_files(tmp_path) == [tmp_path / "model.safetensors"]
    shards = [
        "diffusion_pytorch_model-00001-of-00002.safetensors",
        "diffusion_pytorch_model-00002-of-00002.safetensors",
    ]
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": shards[0], "b": shards[1]}})
    )
    weights(tmp_path / shards[0])
    with pytest.raises(Incomplete, match=f"{shards[1]} is missing"):
        modelfiles.weight_files(tmp_path)
    weights(tmp_path / shards[1])
    assert [path.name for path in modelfiles.weight_files(tmp_path)] == shards
    assert modelfiles.shapes(modelfiles.weight_files(tmp_path)) == {"a": (2, 3)}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("readme.md", "x", "holds no weights"),
        ("model.fp16.safetensors", "x", "only the variant fp16 .*rename it to model.safetensors"),
        ("model-00001-of-00002.safetensors", "x", "without their index model.safetensors.index.json"),
        ("model.fp16-00001-of-00002.safetensors", "x", "shards of weights .*without their index"),
        ("flux1-schnell.safetensors", "x", "holds flux1-schnell.safetensors, but no weights in the layout"),
        ("model.safetensors", POINTER, "is a Git LFS pointer"),
        ("model.safetensors", "", "is empty"),
        ("model.safetensors.index.json", "{", "cannot be read"),
        ("model.safetensors.index.json", "{}", "names no files"),
        ("model.safetensors.index.json", POINTER, "is a Git LFS pointer"),
    ],
)
def test_what_is_there_instead_of_weights_is_named(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(Incomplete, match=sentence):
        modelfiles.weight_files(tmp_path)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: None, "holds no vocabulary"),
        (lambda folder: (folder / "vocab.json").write_text("{}"), "merges.txt is missing"),
        (lambda folder: (folder / "tokenizer.json").write_text(POINTER), "is a Git LFS pointer"),
        (lambda folder: (folder / "tokenizer.json").write_text('{"a'), "cannot be read"),
    ],
)
def test_a_tokenizer_without_its_vocabulary(tmp_path: Path, make: Callable[[Path], object], sentence: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    make(tmp_path)
    with pytest.raises(Incomplete, match=sentence):
        modelfiles.tokenizer_files(tmp_path)


def test_only_what_a_model_reads_counts(tmp_path: Path) -> None:
    weights(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    before = list(modelfiles.read_files(tmp_path))
    for name in (".DS_Store", "._config.json", "README.md", "model.fp16.safetensors", "flax_model.msgpack"):
        (tmp_path / name).write_text("x")
    assert list(modelfiles.read_files(tmp_path)) == before
