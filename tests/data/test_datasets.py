"""Data sets list clips by class, in an order of their own, and say what is missing."""

from __future__ import annotations

import os
import unicodedata
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


@pytest.mark.parametrize(
    "rows",
    [
        ["a.wav,1.0,0,dog,True,1,A", "b.wav,2.0,0,dog,True,1,A"],
        [" a.wav , 1 ,0, dog ,True,1,A", '"b.wav", 2 ,0, "dog" ,True,1,A', ",,,,,,", ""],
    ],
)
def test_a_csv_as_spreadsheets_leave_it(tmp_path: Path, rows: list[str]) -> None:
    root = esc50(tmp_path, rows)
    listed = root / "meta" / "esc50.csv"
    listed.write_text(listed.read_text().replace("fold", " fold ", 1), "utf-8-sig")
    for name in "ab":
        write(root / "audio" / f"{name}.wav")
    dataset = open_dataset(data(name="esc50", root=str(root)))
    assert [(Path(clip.name).name, clip.fold) for clip in dataset.clips("dog")] == [("a.wav", 1), ("b.wav", 2)]


@pytest.mark.parametrize("fold", ["1.5", "-1", "nan", "inf", ""])
def test_a_fold_that_is_no_whole_number(tmp_path: Path, fold: str) -> None:
    root = esc50(tmp_path, [f"a.wav,{fold},0,dog,True,1,A"])
    with pytest.raises(VegasError, match="line 2: .*a whole number for the fold"):
        open_dataset(data(name="esc50", root=str(root)))


@pytest.mark.parametrize(
    ("second", "seen"),
    [
        ("a.wav,4,0,dog,True,1,A", "line 3: .*a.wav is in fold 4, but in fold 1 in .*line 2"),
        ("./a.wav,4,1,rain,True,1,A", "is in fold 4, but in fold 1"),
        ("a.wav,1,0,dog,True,1,A", "line 3: .*a.wav is listed twice, first in .*line 2"),
    ],
)
def test_a_clip_that_is_listed_twice(tmp_path: Path, second: str, seen: str) -> None:
    root = esc50(tmp_path, ["a.wav,1,0,dog,True,1,A", second])
    write(root / "audio" / "a.wav")
    with pytest.raises(VegasError, match=seen):
        open_dataset(data(name="esc50", root=str(root)))


FORMS = pytest.mark.parametrize("form", ["NFC", "NFD"])


@FORMS
def test_a_folder_is_found_by_its_class_in_either_unicode_form(tmp_path: Path, form: str) -> None:
    write(tmp_path / unicodedata.normalize(form, "café") / "a.wav")
    dataset = open_dataset(data(root=str(tmp_path)))
    (clip,) = dataset.clips("café")
    assert dataset.classes == ("café",) == (clip.label,)
    assert clip.format()[0] == 1.0
    write(tmp_path / unicodedata.normalize("NFD" if form == "NFC" else "NFC", "café") / "b.wav")
    with pytest.raises(VegasError, match="two folders for the class café"):
        open_dataset(data(root=str(tmp_path)))


@FORMS
def test_a_csv_and_a_disk_of_different_unicode_forms(tmp_path: Path, form: str) -> None:
    other = "NFD" if form == "NFC" else "NFC"
    root = esc50(tmp_path, [unicodedata.normalize(form, "bébé.wav,1,0,café,True,1,A")])
    write(root / "audio" / unicodedata.normalize(other, "bébé.wav"))
    (clip,) = open_dataset(data(name="esc50", root=str(root))).clips("café")
    assert clip.format()[0] == 1.0


def test_pipes_are_no_recordings(tmp_path: Path) -> None:
    write(tmp_path / "dog" / "a.wav")
    os.mkfifo(tmp_path / "dog" / "b.wav")
    (tmp_path / "dog" / "c.wav").symlink_to("/dev/zero")
    (tmp_path / "dog" / "d.wav").symlink_to("nowhere")
    dataset = open_dataset(data(root=str(tmp_path)))
    assert [Path(clip.name).name for clip in dataset.clips("dog")] == ["a.wav", "d.wav"]  # d is reported as missing
    (told,) = dataset.passed_over("dog")
    assert "b.wav, c.wav" in told


def test_a_class_folder_whose_name_is_not_utf8_is_told(tmp_path: Path) -> None:
    write(tmp_path / "dog" / "a.wav")
    os.rename(tmp_path / "dog", os.fsencode(tmp_path) + b"/caf\xe9")
    assert open_dataset(data(root=str(tmp_path))).classes == ("caf\\xe9",)


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
