"""Files that somebody, or a disk, has changed: each reader answers with a sentence or leaves the entry out."""

from __future__ import annotations

import contextlib
import json
import random
import struct
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.support.odd import changed
from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import picture_file
from vegas_fl.rendering.embeddings_file import KIND, FileFeed, find_prompts
from vegas_fl.rendering.folder import Manifest, Picture, PictureFolder, plan, read_manifest
from vegas_fl.rendering.gallery import write_gallery
from vegas_fl.rendering.paint import stored_sections
from vegas_fl.rendering.runfile import Files, RunFile, read_runfile
from vegas_fl.rendering.verify import contents, expected, verify
from vegas_fl.storage import tensorfiles

CONFIG = compose(["seed=1"])


def bomb(path: Path) -> None:
    """A PNG of two kilobytes that claims ten billion pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(2000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node's folder with two pictures and its run.json."""
    path = tmp_path / "node_0"
    there = PictureFolder(path, {"dog": {"node": "0", "generator": "g"}})
    for picture in plan(1, "0", ["dog"], 2):
        there.save(picture, Image.new("RGB", (8, 8), (picture.seed % 256, 1, 2)))
    files = {"adapter": {"clip": "a", "t5": "b"}, "generators": {"dog": "c"}}
    config = CONFIG.model_dump(mode="json")
    values = {"node": "0", "pictures": {"dog": 2}, "files": files, "config": config}
    (path / "run.json").write_text(json.dumps(values))
    return path


def plan_expected(manifest: Manifest) -> list[Picture]:
    run = RunFile(node="0", pictures={"dog": 2}, files=Files(), config={})
    return expected(run, CONFIG, manifest)


def test_an_untouched_folder_has_no_problems(folder: Path) -> None:
    assert verify(folder, 0, ["seed=1"]).problems == []


def test_changed_manifests(folder: Path, tmp_path: Path) -> None:
    line, other = (folder / "manifest.jsonl").read_text().splitlines()
    for value in changed(json.loads(line)):
        (folder / "manifest.jsonl").write_text(f"{json.dumps(value)}\n{other}\n")
        manifest = read_manifest(folder)
        assert all((folder / name).parent == folder for name in manifest)
        list(contents(folder, manifest, plan_expected(manifest), 2))
        write_gallery(tmp_path)
    (folder / "manifest.jsonl").write_text("[" * 100_000)
    assert verify(folder, 0, ["seed=1"]).problems[0].endswith("not in the manifest")
    (folder / "manifest.jsonl").unlink()
    (folder / "manifest.jsonl").mkdir()
    assert "manifest.jsonl cannot be read" in verify(folder, 0, []).problems[0]


def test_changed_run_files(folder: Path) -> None:
    whole = json.loads((folder / "run.json").read_text())
    for value in changed({**whole, "config": {}}):
        (folder / "run.json").write_text(json.dumps(value))
        with contextlib.suppress(VegasError):
            read_runfile(folder)
    few = random.Random(1).sample(list(changed(whole["config"])), 12)
    for value in ({**whole, "config": config} for config in [whole["config"], *few]):
        (folder / "run.json").write_text(json.dumps(value))
        report = verify(folder, 0, ["nodes.0.dataset.root=/data", "seed=1"])
        assert isinstance(report.problems, list)
    (folder / "run.json").write_text(json.dumps({**whole, "pictures": {"dog": "two"}}))
    assert "pictures.dog: input should be a valid integer, got 'two'" in verify(folder, 0, []).problems[0]
    with pytest.raises(VegasError, match=r"run.json cannot be read .*No such file"):
        read_runfile(folder.parent)


@pytest.mark.parametrize("damage", ["bomb", "cut", "text", "empty", "chunk"])
def test_pictures_that_are_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "dog_0001.png"
    picture_file.write(path, Image.effect_noise((64, 64), 50), {"seed": 1})
    whole = path.read_bytes()
    assert picture_file.recipe(picture_file.read(path))["seed"] == 1
    if damage == "bomb":
        bomb(path)
    elif damage == "chunk":
        path.write_bytes(whole.replace(b"IHDR", b"IHDX"))
    else:
        path.write_bytes({"cut": whole[:900], "text": b"%!PS-Adobe-3.0 EPSF-3.0\n", "empty": b""}[damage])
    with pytest.raises(VegasError, match="dog_0001.png cannot be read as a picture"):
        picture_file.read(path)


def test_a_text_chunk_of_another_program_is_no_recipe() -> None:
    image = Image.new("RGB", (2, 2))
    for text in ("[1]", "{", "[" * 100_000, "3"):
        image.text = {"vegas-fl": text}  # type: ignore[attr-defined]
        assert picture_file.recipe(image) == {}
    assert picture_file.recipe(Image.new("RGB", (2, 2))) == {}


def test_changed_headers_of_embeddings(tmp_path: Path) -> None:
    path = tmp_path / "embeddings_0001.safetensors"
    tensors = {"clip": torch.zeros(1, 4), "t5": torch.zeros(1, 2, 4)}
    header = {"kind": KIND, "node": "0", "pictures": [["dog", 1, 3, None]], "recipes": {"dog": {}}, "renderer": {}}
    tensorfiles.save(path, tensors, header)
    prompts = find_prompts(tmp_path)[tmp_path]
    assert FileFeed(prompts)(prompts.pictures).clip.shape == (1, 4)
    for value in changed(header):
        if isinstance(value, dict):
            tensorfiles.save(path, tensors, value)
            try:
                prompts = find_prompts(tmp_path)[tmp_path]
                FileFeed(prompts)(prompts.pictures[:1])
            except VegasError as error:
                assert str(path) in str(error)
    for wrong in ({"clip": tensors["clip"]}, {**tensors, "clip": torch.zeros(3, 4)}, {**tensors, "x": torch.zeros(1)}):
        tensorfiles.save(path, wrong, header)
        prompts = find_prompts(tmp_path)[tmp_path]
        with pytest.raises(VegasError, match="does not hold what its header says"):
            FileFeed(prompts)(prompts.pictures)


def test_a_damaged_configuration_of_a_run(tmp_path: Path) -> None:
    assert stored_sections(tmp_path) == {}
    for text in ("a: [", "- 1", "\x00", "1"):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(VegasError, match="config.yaml cannot be read"):
            stored_sections(tmp_path)
