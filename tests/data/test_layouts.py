"""VEGAS and VGGSound, in small folders of their true layouts."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest

from tests.support.datasets import data, esc50, vegas_folder
from tests.support.sounds import write
from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.data.datasets import missing_folder, open_dataset


def test_vegas(tmp_path: Path) -> None:
    dataset = open_dataset(data(name="vegas", root=str(vegas_folder(tmp_path))))
    assert dataset.classes == ("baby_cry", "dog")
    assert [Path(clip.name).name for clip in dataset.clips("dog")] == [f"video_0000{i}.wav" for i in range(3)]
    assert {clip.caption for clip in dataset.clips("dog")} == {None}
    assert [clip.source for clip in dataset.clips("dog")] == ["x", "-y_", "x"]
    assert dataset.clips("empty") == dataset.clips("cat") == []
    (tmp_path / "dog/img/video_00001.jpg").rename(tmp_path / "dog/img/video_00001.PNG")
    (tmp_path / "dog/img/video_00002.jpg").rename(tmp_path / "dog/img/video_00002.txt")
    frames = [clip.frame and clip.frame.name for clip in dataset.clips("dog")]
    assert frames == ["video_00000.jpg", "video_00001.PNG", None]


def test_vegas_without_a_word_on_its_videos(tmp_path: Path) -> None:
    dataset = open_dataset(data(name="vegas", root=str(vegas_folder(tmp_path))))
    info = tmp_path / "dog" / "video_info.csv"
    info.write_text("YTID,start_second,end_second\nx,0,10\n")
    assert [clip.source for clip in dataset.clips("dog")] == ["x", None, None]
    info.unlink()
    assert {clip.source for clip in dataset.clips("dog")} == {None}
    info.write_text("id,start,end\nx,0,10\n")
    with pytest.raises(VegasError, match="video_info.csv has no column YTID"):
        dataset.clips("dog")


@pytest.mark.parametrize(
    "captions",
    [
        {"video_00000": "a dog barks", "video_00002.wav": ["two dogs", "and a cat"]},
        [{"video": "video_00000.mp4", "caption": "a dog barks"}, {"caption": "two dogs", "file": "video_00002"}],
    ],
)
def test_vegas_captions(tmp_path: Path, captions: object) -> None:
    dataset = open_dataset(data(name="vegas", root=str(vegas_folder(tmp_path, captions))))
    assert [clip.caption for clip in dataset.clips("dog")] == ["a dog barks", None, "two dogs"]
    assert {clip.caption for clip in dataset.clips("baby_cry")} == {None}


@pytest.mark.parametrize(
    ("captions", "seen"),
    [
        ({"video_00009": "a dog"}, "captions for 1 recordings that are not in .*audios: video_00009"),
        ({"video_00000": ""}, "got 'video_00000' with the caption ''"),
        ({"video_00000": 3}, "with the caption 3"),
        (["a dog"], "expected {"),
        (3, "expected {"),
    ],
)
def test_captions_that_cannot_be_used(tmp_path: Path, captions: object, seen: str) -> None:
    with pytest.raises(VegasError, match=seen):
        open_dataset(data(name="vegas", root=str(vegas_folder(tmp_path, captions)))).clips("dog")


@pytest.mark.parametrize(
    "captions",
    [
        {"dog": {"video_00000": "a dog barks"}, "baby_cry": {"video_00000": "a baby cries"}},
        {"dog/video_00000": "a dog barks", "baby_cry/video_00000.wav": "a baby cries"},
    ],
)
def test_one_file_of_captions_for_all_classes(tmp_path: Path, captions: object) -> None:
    dataset = open_dataset(data(name="vegas", root=str(vegas_folder(tmp_path))))
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    found = [[clip.caption for clip in dataset.clips(label)] for label in ("dog", "baby_cry")]
    assert found == [["a dog barks", None, None], ["a baby cries", None, None]]


@pytest.mark.parametrize(
    ("captions", "seen"),
    [
        ({"video_00000": "a dog barks"}, "has no such class; name recordings like dog/video_00000"),
        ({"cat": {"video_00000": "a cat"}}, "caption for 'cat', but .* has no such class"),
        ({"dog/video_00009": "a dog"}, "captions for 1 recordings that are not in .*audios: video_00009"),
        (3, "expected {"),
    ],
)
def test_one_file_of_captions_that_cannot_be_used(tmp_path: Path, captions: object, seen: str) -> None:
    dataset = open_dataset(data(name="vegas", root=str(vegas_folder(tmp_path))))
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    with pytest.raises(VegasError, match=seen):
        dataset.clips("dog")


def test_captions_that_are_no_json(tmp_path: Path) -> None:
    (vegas_folder(tmp_path) / "dog" / "captions.json").write_text("{")
    with pytest.raises(VegasError, match="cannot be read as JSON"):
        open_dataset(data(name="vegas", root=str(tmp_path))).clips("dog")


@pytest.mark.parametrize("name", ["esc50", "folder", "vegas", "vggsound"])
def test_a_data_set_one_level_down_or_up(tmp_path: Path, name: str) -> None:
    (tmp_path / "top" / ".cache").mkdir(parents=True)
    inner = tmp_path / "top" / "inner-master"
    if name == "vegas":
        vegas_folder(inner)
    elif name == "folder":
        write(inner / "dog" / "a.wav")
    elif name == "esc50":
        write(esc50(inner, ["a.wav,1,0,dog,True,1,A"]) / "audio" / "a.wav")
    else:
        write(vggsound(inner, ROWS[2]) / "audio" / "abc.wav")
    with pytest.raises(VegasError, match=r"data\.root=.*one level down, in .*inner-master"):
        open_dataset(data(name=name, root=str(tmp_path / "top")))
    below = inner / ("dog" if name in ("vegas", "folder") else "audio")
    with pytest.raises(VegasError, match=r"data\.root=.*one level up, in .*inner-master"):
        open_dataset(data(name=name, root=str(below)))


def test_a_data_set_of_another_layout(tmp_path: Path) -> None:
    vegas_folder(tmp_path)
    with pytest.raises(VegasError, match="it is in the layout of data=vegas"):
        open_dataset(data(name="esc50", root=str(tmp_path)))


def test_captions_in_another_unicode_form(tmp_path: Path) -> None:
    write(tmp_path / unicodedata.normalize("NFD", "café") / "audios" / unicodedata.normalize("NFD", "tür.wav"))
    (tmp_path / "captions.json").write_text(json.dumps({"café": {"tür": "a door"}}))
    (clip,) = open_dataset(data(name="vegas", root=str(tmp_path))).clips("café")
    assert clip.caption == "a door"


@pytest.mark.parametrize("file", ["captions.json", "video_info.csv"])
def test_a_pipe_beside_the_recordings_is_not_waited_for(tmp_path: Path, file: str) -> None:
    path = vegas_folder(tmp_path) / "dog" / file
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(VegasError, match=f"{file} .*expected a regular file"):
        open_dataset(data(name="vegas", root=str(tmp_path))).clips("dog")


def vggsound(root: Path, *rows: str) -> Path:
    (root / "audio").mkdir(parents=True)
    (root / "vggsound.csv").write_text("\n".join(rows) + "\n")
    return root


ROWS = (
    "--0PQM4-hqg,30,waterfall burbling,train",
    '-Dcz_x,7,"male speech, man speaking",test',
    "abc,0,waterfall burbling,test",
    "gone,12,waterfall burbling,train",
)


def test_vggsound(tmp_path: Path) -> None:
    root = vggsound(tmp_path, "# YouTube ID, start seconds, label,train/test split.", *ROWS)
    for name in ("--0PQM4-hqg_000030.wav", "-Dcz_x_7.flac", "abc.ogg", "other_000001.wav"):
        write(root / "audio" / name)
    dataset = open_dataset(data(name="vggsound", root=str(root)))
    assert dataset.classes == ("male speech, man speaking", "waterfall burbling")
    found = [(Path(c.name).name, c.fold, c.source) for label in dataset.classes for c in dataset.clips(label)]
    assert found == [
        ("-Dcz_x_7.flac", 2, "-Dcz_x"),
        ("--0PQM4-hqg_000030.wav", 1, "--0PQM4-hqg"),
        ("abc.ogg", 2, "abc"),
    ]
    assert dataset.passed_over("male speech, man speaking") == []
    (told,) = dataset.passed_over("waterfall burbling")
    assert told.startswith("1 of 3 clips of waterfall burbling that vggsound.csv lists are not in")
    assert told.endswith("gone_000012")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
@pytest.mark.parametrize("name", ["esc50", "vegas", "vggsound"])
def test_a_csv_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None) -> None:
    """Neither a file that is no text, nor a folder of its name, ends in a traceback."""
    root = {"esc50": lambda r: esc50(r, []), "vegas": vegas_folder, "vggsound": lambda r: vggsound(r, *ROWS)}[name](
        tmp_path
    )
    file = next(root.glob("**/*.csv"))
    file.unlink()
    file.mkdir() if content is None else file.write_bytes(content)
    config = data(name=name, root=str(root))
    with pytest.raises(VegasError, match=rf"{file.name} cannot be read as csv in UTF-8"):
        [open_dataset(config).clips(label) for label in ("dog", "baby_cry")]


def test_audio_that_is_no_folder(tmp_path: Path) -> None:
    root = vggsound(tmp_path, *ROWS)
    (root / "audio").rmdir()
    (root / "audio").touch()
    with pytest.raises(VegasError, match=r"audio cannot be read \(Not a directory\); data=vggsound needs"):
        open_dataset(data(name="vggsound", root=str(root)))


def test_one_recording_in_both_parts_of_vggsound(tmp_path: Path) -> None:
    root = vggsound(tmp_path, "abc,0,rain,train", "abc,9,rain, test")
    write(root / "audio" / "abc.wav")
    with pytest.raises(VegasError, match="line 2: .*abc.wav is in fold 2, but in fold 1 in .*line 1"):
        open_dataset(data(name="vggsound", root=str(root)))


@pytest.mark.parametrize("label", ["police car (siren)", "bee, wasp, etc. buzzing", "horse clip-clop"])
def test_vggsounds_labels_can_be_chosen(label: str) -> None:
    assert compose(["data=vggsound", f'nodes.0.selected_classes=["{label}"]']).nodes["0"].selected_classes == (label,)


@pytest.mark.parametrize(
    ("row", "seen"),
    [
        ("x,1,rain", "line 1: expected a YouTube id.* got 'x,1,rain'"),
        ("x,one,rain,train", "expected a YouTube id"),
        ("x,1,rain,val", "train or test"),
        ("x,1.5,rain,train", "expected a YouTube id, a start in seconds, a label"),
        ("x,1,rain,train", "none of the 1 clips"),
    ],
)
def test_a_csv_that_is_not_vggsounds(tmp_path: Path, row: str, seen: str) -> None:
    with pytest.raises(VegasError, match=seen):
        open_dataset(data(name="vggsound", root=str(vggsound(tmp_path, row))))


@pytest.mark.parametrize(
    ("name", "needs"), [("vegas", "<class>/audios"), ("vggsound", "vggsound.csv"), ("esc50", "meta/esc50.csv")]
)
def test_the_folder_that_would_be_needed(tmp_path: Path, name: str, needs: str) -> None:
    told = missing_folder(data(name=name, root=str(tmp_path / "nowhere")))
    assert told and "nowhere does not exist" in told and needs in told
    assert "data.root is not set" in (missing_folder(data(name=name)) or "")
    assert missing_folder(data(name=name, root=str(tmp_path))) is None


def test_an_id_says_nothing_of_folders(tmp_path: Path) -> None:
    ids = []
    for folder in ("here", "there"):
        dataset = open_dataset(data(name="vegas", root=str(vegas_folder(tmp_path / folder))))
        ids.append([clip.id(b"") for label in dataset.classes for clip in dataset.clips(label)])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 6
