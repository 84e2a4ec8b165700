"""Reading the csv files of data sets, also as spreadsheets and data frames write them."""

import contextlib
import csv
import errno
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from vegas_fl.audio.clips import FileClip
from vegas_fl.core.errors import VegasError


@contextlib.contextmanager
def table(path: Path) -> Iterator[TextIO]:
    """A csv file, open for reading.

    Raises
    ------
    VegasError
        It is not a regular file, cannot be read, or is not text.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise OSError(errno.EINVAL, "it is not a regular file")
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield file
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise VegasError(f"{path} cannot be read as csv in UTF-8 ({why}); repair it or download it again") from error


def records(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a csv file with a header, each with its line number; blanks around cells are removed.

    Raises
    ------
    VegasError
        It cannot be read, or lacks one of ``columns``.
    """
    with table(path) as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        names = [name.strip() for name in rows.fieldnames or ()]
        if missing := [name for name in columns if name not in names]:
            raise VegasError(
                f"{path} has no column {', '.join(missing)}: its header is {','.join(names)!r}; expected the columns "
                f"{', '.join(columns)} (and others), separated by commas"
            )
        rows.fieldnames = names
        for row in rows:
            yield rows.line_num, {name: (row[name] or "").strip() for name in names}


def whole_number(text: str) -> int | None:
    """A number such as a fold, written 1 or (by spreadsheets and data frames) 1.0; None if it is not a whole number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if math.isfinite(value) and value >= 0 and value == int(value) else None


class Listing:
    """The clips that a csv file lists, by class: each file in one fold, and once in a class."""

    def __init__(self) -> None:
        self._clips: dict[str, list[FileClip]] = {}
        self._rows: dict[str, list[tuple[FileClip, str]]] = {}

    def add(self, clip: FileClip, place: str) -> None:
        """Add the clip that a row (at ``place``) lists.

        Raises
        ------
        VegasError
            An earlier row lists it too.
        """
        rows = self._rows.setdefault(os.path.normpath(clip.path), [])
        for other, where in rows:
            if other.fold != clip.fold:
                raise VegasError(
                    f"{place}: {clip.name} is in fold {clip.fold}, but in fold {other.fold} in {where}: it could "
                    "appear in both training and test sets; keep one of the rows"
                )
            if other.label == clip.label:
                raise VegasError(f"{place}: {clip.name} is listed twice, first in {where}; keep one of the rows")
        rows.append((clip, place))
        self._clips.setdefault(clip.label, []).append(clip)

    def sorted(self) -> dict[str, list[FileClip]]:
        """The clips of each class in the order of their names."""
        return {label: sorted(clips, key=lambda clip: clip.name) for label, clips in self._clips.items()}
