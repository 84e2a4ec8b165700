"""VGGSound: ``vggsound.csv`` (YouTube id, start in seconds, label, train or test; no header) and ``audio/``.

H. Chen, W. Xie, A. Vedaldi, A. Zisserman, "VGGSound: A Large-scale Audio-Visual Dataset", 2020. A recording is
``audio/<id>_<start>.wav`` with the start in six digits or unpadded, or ``audio/<id>.wav`` (also flac, ogg, mp3).
Many of the videos are no longer on YouTube: rows without a recording are skipped (`vegas-fl data` reports how many).

The csv's own split becomes folds: 1 is "train", 2 is "test".
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from vegas_fl.audio.clips import AUDIO_FILES, FileClip
from vegas_fl.core.errors import OtherLayout, VegasError, shortened, some
from vegas_fl.core.names import normal
from vegas_fl.data.datasets.base import Dataset
from vegas_fl.data.datasets.tables import listed, table, whole_number

FOLDS = {"train": 1, "test": 2}


class VggSound(Dataset):
    """The clips that ``vggsound.csv`` lists and ``audio/`` contains."""

    NEEDS = "a folder with vggsound.csv and audio/<id>_<start>.wav"

    def __init__(self, root: Path) -> None:
        csv_file, audio = root / "vggsound.csv", root / "audio"
        for path in (csv_file, audio):
            if not path.exists():
                raise OtherLayout(f"has no {path.name}")
        there = {
            path.stem: path for path in sorted(audio.iterdir()) if path.suffix.lower() in AUDIO_FILES and path.is_file()
        }
        self._audio = audio
        self._gone: dict[str, list[str]] = {}
        self._clips = listed(self._rows(csv_file, there))
        if not self._clips:
            total = sum(map(len, self._gone.values()))
            raise VegasError(
                f"none of the {total} clips that {csv_file} lists is in {audio}; data=vggsound needs {self.NEEDS}"
            )

    def _rows(self, csv_file: Path, there: dict[str, Path]) -> Iterator[tuple[FileClip, str]]:
        with table(csv_file) as file:
            rows = csv.reader(file, skipinitialspace=True)
            for row in rows:
                if not any(cell.strip() for cell in row) or row[0].startswith("#"):
                    continue
                place = f"{csv_file}, line {rows.line_num}"
                label, found = _clip(row, there, place)
                if isinstance(found, FileClip):
                    yield found, place
                else:
                    self._gone.setdefault(label, []).append(found)

    def passed_over(self, label: str) -> list[str]:
        gone = self._gone.get(label, [])
        total = len(gone) + len(self._clips.get(label, []))
        seen = f"{len(gone)} of {total} clips of {label} that vggsound.csv lists are not in {self._audio}"
        return [f"{seen}: {some(gone)}"] if gone else []


def _clip(row: list[str], there: dict[str, Path], place: str) -> tuple[str, FileClip | str]:
    """The label of a row of the csv, and its clip; if the recording is missing, its name."""
    try:
        video, start, label, part = (value.strip() for value in row)
        seconds, fold = whole_number(start), FOLDS[part.lower()]
        if seconds is None:
            raise ValueError(start)
    except (ValueError, KeyError) as error:
        raise VegasError(
            f"{place}: expected a YouTube id, a start in seconds, a label, and train or test; got "
            f"{shortened(','.join(row))}"
        ) from error
    label = normal(label)
    names = (f"{video}_{seconds:06d}", f"{video}_{seconds}", video)
    for name in names:
        if path := there.get(name):
            return label, FileClip.at(path, label, fold, video)
    return label, names[0]
