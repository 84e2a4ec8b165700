"""ESC-50 and data sets in its layout: ``audio/`` and ``meta/esc50.csv`` with filename, fold, category.

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", 2015. Clips cut from one source lie in
one fold, so folds are the way to split it.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

from vegas_fl.audio.clips import Clip, FileClip
from vegas_fl.core.errors import OtherLayout, VegasError, shortened, some
from vegas_fl.core.names import normal, shown
from vegas_fl.data.datasets.base import Dataset
from vegas_fl.data.datasets.tables import listed, records, whole_number

COLUMNS = ("filename", "fold", "category")


class Esc50(Dataset):
    """The clips that ``meta/esc50.csv`` lists."""

    NEEDS = "a folder in ESC-50's layout (audio/ and meta/esc50.csv)"

    def __init__(self, root: Path) -> None:
        self._audio = root / "audio"
        table = root / "meta" / "esc50.csv"
        for path in (self._audio, table):
            if not path.exists():
                raise OtherLayout(f"has no {path.relative_to(root)}")
        self._clips: dict[str, list[FileClip]] = listed(self._rows(table))

    def _rows(self, table: Path) -> Iterator[tuple[FileClip, str]]:
        for line, row in records(table, COLUMNS):
            if any(row.values()):  # spreadsheets leave rows of empty cells
                place = f"{table}, line {line}"
                yield self._clip(row, place), place

    def _clip(self, row: dict[str, str], place: str) -> FileClip:
        name, label, fold = row["filename"], normal(row["category"]), whole_number(row["fold"])
        if not name or not label or fold is None or len(name.encode(errors="replace")) > 255:
            raise VegasError(
                f"{place}: filename {shortened(name)}, fold {shortened(row['fold'])}, category {shortened(label)}; "
                "expected a value for each, a whole number for the fold, and a file name of at most 255 bytes"
            )
        path = self._audio / name
        if not path.exists():  # the csv may write a name in another Unicode form than the disk
            path = self._audio / self._there.get(normal(name), name)
        return FileClip.at(path, label, fold, row.get("src_file") or None)

    @functools.cached_property
    def _there(self) -> dict[str, str]:
        """Names of files by their normal form."""
        return {normal(shown(path.name)): path.name for path in self._audio.iterdir()}

    def clips(self, label: str) -> list[Clip]:
        clips = self._clips.get(label, [])
        if absent := [clip.name for clip in clips if not clip.path.is_file()]:
            raise VegasError(
                f"{len(absent)} of {len(clips)} files that meta/esc50.csv lists for {label} are missing or not "
                f"regular files: {some(absent)}; restore them or remove them from the csv"
            )
        return list(clips)
