"""A node's picture folder: planned names, exact counts, resuming, refusing to mix."""

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from vegas_fl.core.errors import VegasError
from vegas_fl.rendering.folder import PictureFolder, plan
from vegas_fl.rendering.sheets import contact_sheet

RECIPE = {"dog": {"generator": "g1", "steps": 4}, "drum": {"generator": "g2", "steps": 4}}


def image(seed: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (seed % 256, seed // 256 % 256, 7))


def fill(folder: PictureFolder, count: int, overwrite: bool = False) -> int:
    pending = folder.pending(plan(1, "0", ["dog"], count), overwrite)
    for picture in pending:
        folder.save(picture, image(picture.seed))
    return len(pending)


def names(path: Path) -> list[str]:
    return sorted(p.name for p in path.glob("*.png"))


def test_names_are_the_guides() -> None:
    assert [p.name for p in plan(1, "0", ["dog"], 3)] == ["dog_0001.png", "dog_0002.png", "dog_0003.png"]
    assert plan(1, "0", ["dog"], 1000)[-1].name == "dog_1000.png"


def test_several_classes_share_evenly_and_exactly() -> None:
    pictures = plan(1, "0", ["dog", "drum", "chainsaw"], 200)
    assert len(pictures) == 200
    counts = [sum(p.label == c for p in pictures) for c in ("dog", "drum", "chainsaw")]
    assert sorted(counts) == [66, 67, 67]


def test_a_seed_depends_on_run_node_class_index_alone() -> None:
    few, many = plan(1, "0", ["dog"], 10), plan(1, "0", ["drum", "dog"], 1000)
    assert few[3].seed == next(p for p in many if p.name == "dog_0004.png").seed
    seeds = {p.seed for run in (1, 2) for node in ("0", "1") for p in plan(run, node, ["dog", "drum"], 50)}
    assert len(seeds) == 200


def test_rerun_makes_only_what_is_missing(tmp_path: Path) -> None:
    assert fill(PictureFolder(tmp_path, RECIPE), 5) == 5
    (tmp_path / "dog_0003.png").unlink()
    (tmp_path / "dog_0004.png").write_bytes(b"half a pict")
    before = (tmp_path / "dog_0001.png").stat().st_mtime_ns
    assert fill(PictureFolder(tmp_path, RECIPE), 5) == 2
    assert (tmp_path / "dog_0001.png").stat().st_mtime_ns == before
    assert fill(PictureFolder(tmp_path, RECIPE), 8) == 3
    assert names(tmp_path) == [f"dog_000{i}.png" for i in range(1, 9)]


def test_a_manifest_line_cut_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    fill(PictureFolder(tmp_path, RECIPE), 3)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(manifest.read_text()[:-30])
    assert fill(PictureFolder(tmp_path, RECIPE), 4) == 2
    assert fill(PictureFolder(tmp_path, RECIPE), 4) == 0


def test_pictures_of_other_checkpoints_are_not_mixed(tmp_path: Path) -> None:
    fill(PictureFolder(tmp_path, RECIPE), 3)
    other = PictureFolder(tmp_path, {"dog": {"generator": "new", "steps": 4}})
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    with pytest.raises(VegasError, match="generator is 'g1' there and 'new' here.*images.overwrite=true"):
        other.pending(plan(1, "0", ["dog"], 3), overwrite=False)
    assert before == {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    assert fill(other, 3, overwrite=True) == 3


def test_fewer_pictures_than_before_are_refused_not_deleted(tmp_path: Path) -> None:
    fill(PictureFolder(tmp_path, RECIPE), 5)
    with pytest.raises(VegasError, match="3 pictures that are not part of this run, such as dog_0003.png"):
        fill(PictureFolder(tmp_path, RECIPE), 2)
    assert len(names(tmp_path)) == 5
    assert fill(PictureFolder(tmp_path, RECIPE), 2, overwrite=True) == 2
    assert names(tmp_path) == ["dog_0001.png", "dog_0002.png"]


def test_provenance_is_in_the_picture_and_the_manifest(tmp_path: Path) -> None:
    fill(PictureFolder(tmp_path, RECIPE), 1)
    with Image.open(tmp_path / "dog_0001.png") as made:
        chunk = json.loads(made.text["vegas-fl"])  # type: ignore[attr-defined]
    line = json.loads((tmp_path / "manifest.jsonl").read_text())
    assert chunk == {"class": "dog", "index": 1, "seed": line["seed"], **RECIPE["dog"], "versions": line["versions"]}
    assert {"vegas-fl", "torch", "diffusers"} <= set(line["versions"])
    assert line["sha256"] == hashlib.sha256((tmp_path / "dog_0001.png").read_bytes()).hexdigest()


def test_contact_sheet_has_a_tile_for_every_picture(tmp_path: Path) -> None:
    pictures = plan(1, "0", ["dog", "drum"], 7)
    folder = PictureFolder(tmp_path / "node_0", RECIPE)
    for picture in folder.pending(pictures, False):
        folder.save(picture, Image.new("RGB", (8, 8), "red"))
    contact_sheet(folder.path, pictures, 3, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        red = dict((color, n) for n, color in sheet.getcolors(1 << 20) or [])[(255, 0, 0)]
    assert red == 7 * 64 * 64
