"""ESC-50 and data sets in its layout: ``audio/`` and ``meta/esc50.csv`` with filename, fold, category.

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", 2015. Clips cut from one source lie in
one fold, so folds are the way to split it.
"""

from __future__ import annotations

import csv
from pathlib import Path

from vegas_fl.audio.clips import Clip, FileClip
from vegas_fl.core.errors import OtherLayout, VegasError, some
from vegas_fl.data.datasets.tables import table

COLUMNS = ("filename", "fold", "category")


class Esc50:
    """The clips that ``meta/esc50.csv`` lists."""

    NEEDS = "a folder in ESC-50's layout (audio/ and meta/esc50.csv)"

    def __init__(self, root: Path) -> None:
        self._audio = root / "audio"
        listed = root / "meta" / "esc50.csv"
        for path in (self._audio, listed):
            if not path.exists():
                raise OtherLayout(f"has no {path.relative_to(root)}")
        self._clips: dict[str, list[Clip]] = {}
        with table(listed) as file:
            reader = csv.DictReader(file)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                raise VegasError(
                    f"{listed} has no column {', '.join(missing)}; expected {', '.join(COLUMNS)} (others are ignored)"
                )
            for row in reader:
                self._add(row, f"{listed}, line {reader.line_num}")
        for clips in self._clips.values():
            clips.sort(key=lambda clip: clip.name)

    def _add(self, row: dict[str, str | None], place: str) -> None:
        name, fold, label = (row[column] or "" for column in COLUMNS)
        if not name or not label or not fold.isdecimal():
            raise VegasError(
                f"{place}: filename {name!r}, fold {fold!r}, category {label!r}; expected a value for each"
            )
        path = self._audio / name
        clip = FileClip(label, str(path), int(fold), path, source=row.get("src_file") or None)
        self._clips.setdefault(label, []).append(clip)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted(self._clips))

    def clips(self, label: str) -> list[Clip]:
        clips = self._clips.get(label, [])
        if absent := [clip.name for clip in clips if not Path(clip.name).is_file()]:
            raise VegasError(
                f"{len(absent)} of {len(clips)} files that meta/esc50.csv lists for {label} are missing: "
                f"{some(absent)}; restore them or remove them from the csv"
            )
        return list(clips)

    def passed_over(self, label: str) -> list[str]:
        return []  # files that the csv does not list have no class
