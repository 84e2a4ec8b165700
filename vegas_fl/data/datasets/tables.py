"""Reading the csv files of data sets, also as spreadsheets and data frames write them."""

import contextlib
import csv
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from vegas_fl.audio.clips import FileClip
from vegas_fl.core.errors import VegasError, shortened
from vegas_fl.core.files import bounded


@contextlib.contextmanager
def table(path: Path) -> Iterator[TextIO]:
    """A csv file, open for reading.

    Raises
    ------
    VegasError
        It is not a regular file, cannot be read, or is not text.
    """
    try:
        with open(bounded(path), encoding="utf-8-sig", newline="") as file:
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
                f"{path} has no column {', '.join(missing)}: its header is {shortened(','.join(names))}; expected the "
                f"columns {', '.join(columns)} (and others), separated by commas"
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


def listed(rows: Iterable[tuple[FileClip, str]]) -> dict[str, list[FileClip]]:
    """The clips that the rows of a csv file list, each with the row's place: by class, in the order of their names.

    Raises
    ------
    VegasError
        A file is in two folds, or twice in a class.
    """
    clips: dict[str, list[FileClip]] = {}
    seen: dict[str, list[tuple[FileClip, str]]] = {}
    for clip, place in rows:
        earlier = seen.setdefault(os.path.normpath(clip.path), [])
        for other, where in earlier:
            if other.fold != clip.fold:
                raise VegasError(
                    f"{place}: {clip.name} is in fold {clip.fold}, but in fold {other.fold} in {where}: it could "
                    "appear in both training and test sets; keep one of the rows"
                )
            if other.label == clip.label:
                raise VegasError(f"{place}: {clip.name} is listed twice, first in {where}; keep one of the rows")
        earlier.append((clip, place))
        clips.setdefault(clip.label, []).append(clip)
    return {label: sorted(found, key=lambda clip: clip.name) for label, found in clips.items()}
