"""Data sets: where clips come from. One file a layout, one interface."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from vegas_fl.clips import Clip
from vegas_fl.config import DataConfig
from vegas_fl.datasets.esc50 import Esc50
from vegas_fl.datasets.folder import ClassFolders
from vegas_fl.datasets.toy import Toy
from vegas_fl.errors import VegasError


class Dataset(Protocol):
    """Clips by class."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that have clips, sorted."""

    def clips(self, label: str) -> list[Clip]:
        """The clips of a class, in an order that depends on nothing but their names; none if there is no such class.

        Raises
        ------
        VegasError
            Clips that the data set lists are not there.
        """


def open_dataset(config: DataConfig) -> Dataset:
    """Open the data set ``config`` names. Reads lists of files, no audio.

    Raises
    ------
    VegasError
        ``data.root`` is not set, not a folder, or not in the layout of ``data.name``.
    """
    if config.name == "toy":
        return Toy(config.clips_per_class)
    layouts: dict[str, type[Esc50] | type[ClassFolders]] = {"esc50": Esc50, "folder": ClassFolders}
    layout = layouts[config.name]
    if not config.root:
        raise VegasError(f"data.root is not set, and data={config.name} needs {layout.NEEDS}; add data.root=FOLDER")
    root = Path(config.root).expanduser()
    if not root.is_dir():
        seen = "is not a folder" if root.exists() else "does not exist"
        raise VegasError(f"data.root={config.root} {seen}; data={config.name} needs {layout.NEEDS}")
    return layout(root)
