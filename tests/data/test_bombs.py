"""Tables and captions made to break their reader, and links where recordings are: a sentence at worst."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.datasets import data, esc50, vegas_folder
from tests.support.sounds import write
from vegas_fl.core.errors import VegasError
from vegas_fl.data.datasets import open_dataset

HEADER = "filename,fold,target,category,esc10,src_file,take\n"
TABLES = {
    "a huge cell": HEADER + "a" * 10**6 + ",1,0,dog,True,1,A\n",
    "a name too long for a disk": HEADER + "a" * 100_000 + ",1,0,dog,True,1,A\n",
    "a NUL in a name": HEADER + "a\0.wav,1,0,dog,True,1,A\n",
    "a NUL in the header": HEADER.replace("fold", "f\0ld") + "a.wav,1,0,dog,True,1,A\n",
    "a quote that stays open": HEADER + 'a.wav,1,0,"dog,True,1,A\n' + "b.wav,1,0,dog,True,1,A\n" * 20_000,
    "many columns": ",".join(f"c{i}" for i in range(10**6)) + "\n",
    "many cells": HEADER + "a.wav,1,0,dog" + ",x" * 10**6 + "\n",
    "only commas": HEADER + "," * 10**5 + "\n",
    "a huge fold": HEADER + "a.wav,1e400,0,dog,True,1,A\n",
    "a fold of many digits": HEADER + f"a.wav,{'9' * 5000},0,dog,True,1,A\n",
    "no letters": "\x00" * 10_000,
    "returns only": "\r" * 10_000,
    "nothing": "",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("name", ["esc50", "vggsound", "vegas"])
def test_a_table_is_a_sentence_at_worst(text: str, name: str, tmp_path: Path) -> None:
    if name == "esc50":
        table = esc50(tmp_path, []) / "meta" / "esc50.csv"
    elif name == "vegas":
        table = vegas_folder(tmp_path) / "dog" / "video_info.csv"
    else:
        table = tmp_path / "vggsound.csv"
        write(tmp_path / "audio" / "a_000001.wav")
    table.write_text(text)
    try:
        open_dataset(data(name=name, root=str(tmp_path))).clips("dog")
    except VegasError as error:
        assert table.name in str(error) and len(str(error)) < 3000


def test_a_table_larger_than_any_is_not_read(tmp_path: Path) -> None:
    table = esc50(tmp_path, []) / "meta" / "esc50.csv"
    os.truncate(table, 2**34)  # a hole: takes no room
    with pytest.raises(VegasError, match=r"esc50.csv cannot be read .*at most \d+ bytes, got 17179869184"):
        open_dataset(data(name="esc50", root=str(tmp_path)))


CAPTIONS = {
    "a huge caption": json.dumps({"video_00000": "a" * 10**6}),
    "a huge name": json.dumps({"a" * 10**6: "a dog"}),
    "a huge number": '{"video_00000": ' + "9" * 10**5 + "}",
    "infinite": '{"video_00000": 1e999}',
    "deep": '{"video_00000": ' + "[" * 10**5 + "]" * 10**5 + "}",
    "a deep list": "[" * 10**5,
    "a NUL in a name": json.dumps({"video\0": "a dog"}),
    "half a character": '{"video_00000": "\\ud800"}',
    "half a character in a name": '{"\\ud800": "a dog"}',
    "many strangers": json.dumps({f"v{i}": "a dog" for i in range(10**5)}),
    "an empty list": '{"video_00000": []}',
    "nothing": "",
}


@pytest.mark.parametrize("text", CAPTIONS.values(), ids=CAPTIONS)
@pytest.mark.parametrize("place", ["dog/captions.json", "captions.json"])
def test_captions_are_a_sentence_at_worst(text: str, place: str, tmp_path: Path) -> None:
    (vegas_folder(tmp_path) / place).write_text(text)
    with pytest.raises(VegasError, match=r"captions\.json") as told:
        open_dataset(data(name="vegas", root=str(tmp_path))).clips("dog")
    assert len(str(told.value)) < 3000 and str(told.value).isprintable()


def loop(folder: Path) -> None:
    (folder / "loop").symlink_to(folder)
    (folder / "dog" / "loop.wav").symlink_to("loop.wav")


def dangling(folder: Path) -> None:
    (folder / "dog" / "gone.wav").symlink_to("/nowhere.wav")


def hard(folder: Path) -> None:
    os.link(folder / "dog" / "a.wav", folder / "dog" / "b.wav")


def folder_named_like_a_recording(folder: Path) -> None:
    (folder / "dog" / "c.wav").mkdir()


@pytest.mark.parametrize(
    ("make", "names"),
    [(loop, ["a", "loop"]), (dangling, ["a", "gone"]), (hard, ["a", "b"]), (folder_named_like_a_recording, ["a"])],
)
def test_links_are_read_or_told(make: Callable[[Path], None], names: list[str], tmp_path: Path) -> None:
    write(tmp_path / "dog" / "a.wav")
    make(tmp_path)
    clips = open_dataset(data(root=str(tmp_path))).clips("dog")
    assert [Path(clip.name).stem for clip in clips] == names
    for clip in clips:
        if clip.name.endswith(("gone.wav", "loop.wav")):
            for read in (clip.content, clip.format, lambda clip=clip: clip.read(16000, 1.0)):
                with pytest.raises(VegasError, match=Path(clip.name).name):
                    read()
        else:
            clip.content()
