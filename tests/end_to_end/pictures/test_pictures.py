"""Pictures from checkpoints, by the command line: sources, places, resuming, provenance, checking, planning."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.support.command import vegas
from tests.support.pictures import hashes
from tests.support.sounds import sound


@pytest.mark.slow
def test_embeddings_are_drawn_elsewhere_to_the_same_bytes(base: list[str], drawn: Path, tmp_path: Path) -> None:
    written = tmp_path / "embeddings"
    vegas(tmp_path, *base, "images.output=embeddings", f"images_output_dir={written}")
    assert not list(written.rglob("*.png"))
    done = vegas(tmp_path, "render", str(written), "--output", str(tmp_path / "later"))
    assert "node 0: 6 pictures" in done.stdout
    assert hashes(tmp_path / "later") == hashes(tmp_path / "out")
    assert "0 of them new" in vegas(tmp_path, "render", str(written), "--output", str(tmp_path / "later")).stdout
    vegas(tmp_path, "verify", str(tmp_path / "later"))
    # another batch size: the same pictures, up to a rounding
    vegas(tmp_path, "render", str(written), "renderer.batch_size=3", "--output", str(tmp_path / "three"))
    for name in hashes(tmp_path / "out"):
        with Image.open(tmp_path / "out" / name) as a, Image.open(tmp_path / "three" / name) as b:
            assert np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max() <= 2
    # again: nothing changes; other checkpoints are refused
    vegas(tmp_path, *base, "images.output=embeddings", f"images_output_dir={written}")
    other = [*base, "images.output=embeddings", f"images_output_dir={written}", "seed=7"]
    assert "holds other embeddings (other pictures)" in vegas(tmp_path, *other, code=2).stderr
    assert "holds no embeddings" in vegas(tmp_path, "render", str(tmp_path / "out"), code=1).stderr
    # what the first refusal advises
    sized = [str(written), "renderer.steps=2", "--output", str(tmp_path / "later")]
    assert "steps is" in (told := vegas(tmp_path, "render", *sized, code=1).stderr) or "renderer_fingerprint is" in told
    assert "6 of them new" in vegas(tmp_path, "render", *sized, "--overwrite").stdout


def test_damaged_embeddings_are_written_again(base: list[str], tmp_path: Path) -> None:
    writing = [*base, "images.output=embeddings"]
    vegas(tmp_path, *writing)
    one, other = (tmp_path / f"out/node_{i}/embeddings_0001.safetensors" for i in (0, 1))
    whole = one.read_bytes(), other.read_bytes()
    one.write_bytes(whole[0][:-40])
    flipped = bytearray(whole[1])
    flipped[-1] ^= 1
    other.write_bytes(flipped)
    (one.parent / ".embeddings_0002.safetensors.99.tmp").write_bytes(b"half")
    vegas(tmp_path, *writing)
    assert (one.read_bytes(), other.read_bytes()) == whole
    assert not list(one.parent.glob(".*.tmp"))


def test_recordings_are_drawn_and_named_by_their_content(base: list[str], tmp_path: Path) -> None:
    vegas(tmp_path, *base, "images.source=recordings")
    names = {p.name for p in (tmp_path / "out" / "node_0").glob("*.png")}
    assert 0 < len(names) <= 6 and all(re.fullmatch(r"dog_[0-9a-f]{12}\.png", name) for name in names)
    line = json.loads((tmp_path / "out/node_0/manifest.jsonl").read_text().splitlines()[0])
    assert line["file"] == f"dog_{line['clip'][:12]}.png" and line["recipe"]["source"] == "recordings"
    done = vegas(tmp_path, "verify", str(tmp_path / "out"))
    assert re.search(r"node_1: 4 pictures, 0 problems, 4 drawn again, 4 of them byte-identical", done.stdout)
    # where the recordings are not
    done = vegas(tmp_path, "verify", str(tmp_path / "out"), "data.clips_per_class=40")
    assert re.search(
        r"0 problems, none drawn again \(the recording of dog_\w+.png is not among the node's", done.stdout
    )


def test_the_server_paints_every_class(base: list[str], tmp_path: Path) -> None:
    vegas(tmp_path, *base, "images.where=both", "images.server_samples=5")
    made = sorted(hashes(tmp_path / "out"))
    assert [name for name in made if name.startswith("server")] == [
        *(f"server/chainsaw_{i:04d}.png" for i in (1, 2, 3)),
        *(f"server/dog_{i:04d}.png" for i in (1, 2)),
    ]
    assert len(made) == 6 + 4 + 5
    assert (
        "0 problems, 4 drawn again, 4 of them byte-identical"
        in vegas(tmp_path, "verify", str(tmp_path / "out" / "server")).stdout
    )
    vegas(tmp_path, *base, "images.where=server", "images.server_samples=5", f"images_output_dir={tmp_path / 'alone'}")
    assert {Path(name).parts[0] for name in hashes(tmp_path / "alone")} == {"server"}


def test_pictures_of_earlier_rounds_have_the_same_seeds(base: list[str], tmp_path: Path) -> None:
    vegas(tmp_path, *base, "images.every=1")
    out = tmp_path / "out"
    seeds = {}
    for folder in (out / "round_1", out / "round_2", out):
        lines = (folder / "node_0" / "manifest.jsonl").read_text().splitlines()
        seeds[folder.name] = [json.loads(line)["seed"] for line in lines]
    assert len(set(map(tuple, seeds.values()))) == 1
    assert len({(f / "node_0/dog_0001.png").read_bytes() for f in (out / "round_1", out / "round_2", out)}) == 3
    vegas(tmp_path, *base, "images.round=2", f"images_output_dir={tmp_path / 'two'}")
    two = (tmp_path / "two/node_0/dog_0001.png").read_bytes()
    assert two == (out / "round_2/node_0/dog_0001.png").read_bytes()


@pytest.mark.slow
def test_long_jobs_are_answered_in_parts(base: list[str], tmp_path: Path) -> None:
    done = vegas(tmp_path, *base, "nodes.0.samples_per_node=120", "images.report_seconds=0.01")
    assert re.search(r"node 0: \d+ of 120 pictures, [\d.e+]+ a second, about \d+ s left", done.stdout)
    assert "node 0: 120 pictures" in done.stdout and "of them new" not in done.stdout
    assert len(list((tmp_path / "out/node_0").glob("*.png"))) == 120


def test_damage_is_found_told_and_mended(base: list[str], drawn: Path, tmp_path: Path) -> None:
    whole, node = hashes(drawn), drawn / "node_0"
    assert "4 drawn again, 4 of them byte-identical" in vegas(tmp_path, "verify", str(node)).stdout
    (node / "dog_0001.png").write_bytes((node / "dog_0001.png").read_bytes()[:-40])
    (node / "dog_0002.png").unlink()
    (node / "dog_0003.png").write_bytes((node / "dog_0004.png").read_bytes())
    (node / "cat_0001.png").write_bytes(b"?")
    (node / ".dog_0006.png.99.tmp").write_bytes(b"half")
    with open(node / "manifest.jsonl", "a") as file:
        file.write('{"file": "dog_0005.png"}\n["dog_0006.png"]\n{"file": "dog_00')  # of no use, and cut short
    told = vegas(tmp_path, "verify", str(tmp_path / "out"), code=1).stderr
    assert re.search(r"dog_0001.png: changed or truncated", told) and re.search(r"dog_0002.png: missing", told)
    assert re.search(r"dog_0003.png: changed", told) and re.search(r"cat_0001.png: not a picture of this run", told)
    (node / "cat_0001.png").unlink()
    vegas(tmp_path, *base)
    assert hashes(tmp_path / "out") == whole
    assert not list(node.glob(".*.tmp"))


def test_a_full_disk_is_a_sentence_and_loses_nothing(base: list[str], tmp_path: Path) -> None:
    mounted = tmp_path / "small"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mounted)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("making a small disk needs root")
    try:
        many = [*base, f"images_output_dir={mounted / 'out'}", "images.sheet_columns=0"]
        # refused after the first batch, because the rest would not fit
        told = vegas(tmp_path, *many, "nodes.0.samples_per_node=300", code=1).stderr
        assert re.search(r"pictures need about \d+ MB more, but 0 MB are free", told)
        kept = hashes(mounted / "out" / "node_0")
        assert len(kept) >= 4
        # something else fills the disk meanwhile
        (mounted / "other").write_bytes(b"0" * 100_000)
        try:
            with open(mounted / "rest", "wb") as file:
                file.write(b"0" * 10**6)
        except OSError:
            pass
        told = vegas(tmp_path, *many, "nodes.0.samples_per_node=8", code=1).stderr
        assert re.search(r"cannot be written \(No space left on device\)|the pictures need", told)
        assert kept.items() <= hashes(mounted / "out" / "node_0").items()
        (mounted / "other").unlink()
        (mounted / "rest").unlink()
        vegas(tmp_path, *many, "nodes.0.samples_per_node=8")
        assert len(hashes(mounted / "out" / "node_0")) == 8
        vegas(tmp_path, "verify", str(mounted / "out"))
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_any_recording_is_painted(trained: Path, tmp_path: Path, embedding_cache: Path) -> None:
    for name, seed in (("bark", 1), ("saw", 2)):
        soundfile.write(tmp_path / f"{name}.wav", sound(2.0, seed), 16_000)
    places = [f"paths.checkpoints={trained / 'checkpoints'}", f"paths.runs={trained / 'runs'}"]
    arguments = ["paint", "bark.wav", "saw.wav", "adapters=small", *places, f"paths.cache={embedding_cache}"]
    done = vegas(tmp_path, *arguments)
    assert re.search(r"bark.wav -> painted/bark.png; nearest: (a [\w ]+ at distance [\d.]+(, |\n)){3}", done.stdout)
    first = (tmp_path / "painted" / "saw.png").read_bytes()
    with Image.open(tmp_path / "painted" / "saw.png") as image:
        assert image.size == (64, 64) and "clip_adapter" in image.text["vegas-fl"]  # type: ignore[attr-defined]
    vegas(tmp_path, *arguments, "--output", "again")
    assert (tmp_path / "again" / "saw.png").read_bytes() == first
    # what cannot be painted
    assert "cannot be opened (No such file" in vegas(tmp_path, "paint", "moo.wav", *arguments[3:], code=1).stderr
    assert "no global adapter in" in vegas(tmp_path, "paint", "saw.wav", "adapters=none", *places, code=1).stderr
    text = vegas(tmp_path, "paint", "saw.wav", "adapters=small", *places, "conditioning.clip=text", code=1).stderr
    assert "conditioning.clip=text draws a class's prompt, but a recording to paint has no class" in text
    assert "no recording to paint" in vegas(tmp_path, "paint", "adapters=small", code=1).stderr
    other = vegas(tmp_path, *arguments, "encoder.tokens=4", code=1).stderr
    assert "trained with another encoder" in other and "add the encoder=" in other
