"""What takes a while to make, made once in a test run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock

Fill = Callable[[Path], object]


class Once(NamedTuple):
    """Folders that are filled by whichever process of a test run asks first; others wait.

    Attributes
    ----------
    shared : Path
        One for all processes.
    temporary : pytest.TempPathFactory
        Makes folders of this process.
    """

    shared: Path
    temporary: pytest.TempPathFactory

    def folder(self, name: str, fill: Fill) -> Path:
        """The folder itself, to be read only."""
        folder, done = self.shared / name, self.shared / f"{name}.done"
        with FileLock(self.shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    def copy(self, name: str, fill: Fill) -> Path:
        """A copy that tests may change."""
        return Path(shutil.copytree(self.folder(name, fill), self.temporary.mktemp(name), dirs_exist_ok=True))
