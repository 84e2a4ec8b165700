"""Data sets list clips by class, in an order of their own, and say what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.datasets import data, esc50
from tests.support.sounds import write
from vegas_fl.core.errors import VegasError
from vegas_fl.data.datasets import open_dataset


def test_a_folder_per_class(tmp_path: Path) -> None:
    for name in ("dog/b.WAV", "dog/a.flac", "dog/._a.flac", "cat/1.ogg", ".hidden/x.wav"):
        if name.endswith("._a.flac"):
            (tmp_path / name).write_text("what macOS leaves behind")
        else:
            write(tmp_path / name)
    (tmp_path / "dog" / "notes.txt").write_text("no recording")
    (tmp_path / "empty").mkdir()
    dataset = open_dataset(data(root=str(tmp_path)))
    assert dataset.classes == ("cat", "dog")
    assert [Path(clip.name).name for clip in dataset.clips("dog")] == ["a.flac", "b.WAV"]
    assert {clip.label for clip in dataset.clips("dog")} == {"dog"}
    assert dataset.clips("empty") == dataset.clips("bird") == []


def test_esc50_is_read_from_its_csv(tmp_path: Path) -> None:
    root = esc50(tmp_path, ["2-b.wav,2,0,dog,True,1,A", "1-a.wav,1,0,dog,True,2,A", "5-c.wav,5,1,rooster,True,3,A"])
    for name in ("2-b.wav", "1-a.wav", "5-c.wav", "not-listed.wav"):
        write(root / "audio" / name)
    dataset = open_dataset(data(name="esc50", root=str(root)))
    assert dataset.classes == ("dog", "rooster")
    assert [(Path(clip.name).name, clip.fold) for clip in dataset.clips("dog")] == [
        ("1-a.wav", 1),
        ("2-b.wav", 2),
    ]


def test_files_the_csv_lists_and_that_are_missing_are_told_together(tmp_path: Path) -> None:
    root = esc50(tmp_path, ["a.wav,1,0,dog,True,1,A", "b.wav,1,0,dog,True,1,A", "c.wav,1,0,dog,True,1,A"])
    write(root / "audio" / "b.wav")
    with pytest.raises(VegasError) as error:
        open_dataset(data(name="esc50", root=str(root))).clips("dog")
    assert "2 of 3" in str(error.value)
    assert "a.wav" in str(error.value)
    assert "c.wav" in str(error.value)


def test_a_csv_that_is_not_esc50s(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "audio").mkdir()
    table = tmp_path / "meta" / "esc50.csv"
    table.write_text("name,class\nx,dog\n")
    with pytest.raises(VegasError, match="no column filename, fold, category"):
        open_dataset(data(name="esc50", root=str(tmp_path)))
    table.write_text("filename,fold,category\nx.wav,one,dog\n")
    with pytest.raises(VegasError, match=r"line 2.*'one'"):
        open_dataset(data(name="esc50", root=str(tmp_path)))


@pytest.mark.parametrize("name", ["esc50", "folder", "vegas", "vggsound"])
@pytest.mark.parametrize(("root", "seen"), [(None, "not set"), ("nowhere", "does not exist"), ("file", "not a folder")])
def test_a_root_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, root: str | None, seen: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(VegasError, match=seen):
        open_dataset(data(name=name, root=root))


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("esc50", "has no audio"),
        ("folder", "no folder with recordings"),
        ("vegas", "no <class>/audios/"),
        ("vggsound", "has no vggsound.csv"),
    ],
)
def test_a_root_of_another_layout(tmp_path: Path, name: str, seen: str) -> None:
    (tmp_path / "something").mkdir()
    with pytest.raises(VegasError, match=seen):
        open_dataset(data(name=name, root=str(tmp_path)))


def test_real_recordings(esc10: Path) -> None:
    dataset = open_dataset(data(name="esc50", root=str(esc10)))
    assert "crackling_fire" in dataset.classes
    clip = dataset.clips("dog")[0]
    samples = clip.read(16_000, 5.0)
    assert len(samples) == 80_000
    assert np.abs(samples).max() <= 1
