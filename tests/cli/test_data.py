"""`vegas-fl data`: the table, the picture, and everything that can be wrong with recordings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from tests.support.command import vegas
from tests.support.datasets import esc50
from tests.support.sounds import write

NODES = ["nodes.0.selected_classes=[dog]", "nodes.1.selected_classes=[cat]"]


def folder(root: Path) -> list[str]:
    for index in range(10):
        write(root / "dog" / f"{index}.wav", index, 1.0 + index / 10)
        write(root / "cat" / f"{index}.wav", 100 + index)
    return ["data=folder", f"data.root={root}", *NODES]


def test_stats_are_a_table_and_a_picture(tmp_path: Path) -> None:
    done = vegas(tmp_path, "data", "stats", *folder(tmp_path / "s"), "--picture", "out/data.png")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["0", "dog", "8", "1", "1", "1.0-1.9", "(1.4)", "16000"] in lines
    assert ["all", "16", "2", "2"] in lines
    with Image.open(tmp_path / "out" / "data.png") as picture:
        assert picture.size[0] > 500


def test_sound_data_pass(tmp_path: Path) -> None:
    done = vegas(tmp_path, "data", "check", *folder(tmp_path / "s"))
    assert "no problem found" in done.stdout


def test_everything_wrong_is_told(tmp_path: Path) -> None:
    root = tmp_path / "s"
    overrides = folder(root)
    (root / "dog" / "3.wav").write_bytes(b"no sound")
    soundfile.write(root / "dog" / "4.wav", np.zeros(16_000), 16_000)
    soundfile.write(root / "cat" / "5.flac", soundfile.read(root / "dog" / "5.wav")[0], 16_000)
    done = vegas(tmp_path, "data", "check", *overrides, code=1)
    told = [line for line in done.stdout.splitlines() if line.startswith("- ")]
    assert len(told) == 3
    assert any("3.wav cannot be read" in line for line in told)
    assert any("4.wav is silent" in line for line in told)
    copy = next(line for line in told if "one recording appears" in line)
    assert "dog/5.wav in node 0" in copy and "cat/5.flac in node 1" in copy


def test_one_channel_of_two_that_cancel_is_told_and_a_constant_is_silence(tmp_path: Path) -> None:
    root = tmp_path / "s"
    overrides = folder(root)
    tone = 0.3 * np.sin(np.arange(16_000) / 5)
    soundfile.write(root / "dog" / "4.wav", np.stack([tone, -tone], axis=1), 16_000)
    soundfile.write(root / "cat" / "7.wav", np.full(16_000, 0.5), 16_000)
    done = vegas(tmp_path, "data", "check", *overrides, code=1)
    assert f"note: channels cancel each other when they are mixed, so the loudest one is used: {root}/dog/4.wav\n" in (
        done.stdout
    )
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("- ")]
    assert "cat/7.wav is silent" in told and "a constant 0.50" in told


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    root = tmp_path / "s"
    overrides = folder(root)
    for bad, content in ((b"good\xe9.wav", None), (b"bad\xe9.wav", b"no sound"), (b"phone\xe9.m4a", b"")):
        path = root / "dog" / os.fsdecode(bad)
        write(root / "new.wav", 77)
        (root / "new.wav").rename(path)
        if content is not None:
            path.write_bytes(content)
    done = vegas(tmp_path, "data", "check", *overrides, code=1)
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("- ")]
    assert r"bad\xe9.wav cannot be read as audio" in told and r"phone\xe9.m4a" in done.stdout
    assert done.stdout.encode()


def test_files_that_are_not_read_are_told(tmp_path: Path) -> None:
    root = tmp_path / "s"
    overrides = folder(root)
    (root / "dog" / "phone.m4a").write_bytes(b"another format")
    write(root / "dog" / "more" / "deep.wav", 50)
    (root / "dog" / "10.wav").mkdir()
    (root / "dog" / "notes.txt").write_text("no sound")
    (root / "cat" / "3.wav").write_bytes(b"no sound")
    done = vegas(tmp_path, "data", "stats", *overrides)
    assert f"note: not read in {root / 'dog'}: more/deep.wav, phone.m4a; recordings are .wav, .flac" in done.stdout
    assert "- " + str(root / "cat" / "3.wav") + " cannot be read as audio" in done.stdout
    assert ["0", "dog", "8", "1", "1"] in [line.split()[:5] for line in done.stdout.splitlines()]
    (root / "bird").mkdir()
    (root / "bird" / "a.opus").touch()
    done = vegas(tmp_path, "data", "check", *overrides, "nodes.1.selected_classes=[bird]", code=2)
    assert "no clip of class 'bird'" in done.stderr and "not read" in done.stderr and "a.opus" in done.stderr


def test_clips_of_one_source_in_train_and_test(tmp_path: Path) -> None:
    rows = [f"{i % 2}-{i}.wav,{i % 2},0,dog,True,{i // 5},A" for i in range(10)]
    root = esc50(tmp_path / "esc", rows)
    for index, row in enumerate(rows):
        write(root / "audio" / row.split(",")[0], index)
    overrides = ["data=esc50", f"data.root={root}", NODES[0], "~nodes.1"]
    assert "no problem found" in vegas(tmp_path, "data", "check", *overrides).stdout  # ratios keep them together
    folds = ["data.train_folds=[0]", "data.test_folds=[1]", "data.val_folds=[]"]
    done = vegas(tmp_path, "data", "check", *overrides, *folds, code=1)
    assert "clips cut from one recording are in different parts" in done.stdout
    assert "put them into one fold" in done.stdout


def test_mistakes_of_the_settings_come_first(tmp_path: Path) -> None:
    done = vegas(tmp_path, "data", "check", *folder(tmp_path / "s"), "nodes.1.selected_classes=[cow]", code=2)
    assert "no clip of class 'cow'" in done.stderr
    assert not done.stdout


def test_all_mistakes_come_together_whoever_asks(tmp_path: Path) -> None:
    overrides = [*folder(tmp_path / "s"), "nodes.1.selected_classes=[cow]", "data.train_ratio=0.9", "roundz=3"]
    for command in ([], ["plan"], ["data", "check"], ["data", "stats"]):
        told = vegas(tmp_path, *command, *overrides, code=2).stderr
        assert "3 mistakes; nothing was started" in told
        for seen in ("no clip of class 'cow'", "= 1.1; make it 1", "roundz: unknown key"):
            assert seen in told


def test_real_recordings_have_no_leak(tmp_path: Path, esc10: Path) -> None:
    done = vegas(tmp_path, "data", "check", "experiment=esc10_10n", f"data.root={esc10}")
    assert "no problem found" in done.stdout
