"""Reading the csv files of data sets."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from vegas_fl.core.errors import VegasError


@contextlib.contextmanager
def table(path: Path) -> Iterator[TextIO]:
    """A csv file, open for reading.

    Raises
    ------
    VegasError
        It cannot be read, or is not text.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield file
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise VegasError(f"{path} cannot be read as csv in UTF-8 ({why}); repair it or download it again") from error
