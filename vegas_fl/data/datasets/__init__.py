"""Data sets: where clips come from. One interface, and one file for each layout."""

from pathlib import Path

from vegas_fl.config import DataConfig
from vegas_fl.core.errors import OtherLayout, VegasError
from vegas_fl.data.datasets.base import Dataset
from vegas_fl.data.datasets.esc50 import Esc50
from vegas_fl.data.datasets.folder import ClassFolders
from vegas_fl.data.datasets.toy import Toy
from vegas_fl.data.datasets.vegas import Vegas
from vegas_fl.data.datasets.vggsound import VggSound

Layout = Esc50 | ClassFolders | Vegas | VggSound
LAYOUTS: dict[str, type[Layout]] = {"esc50": Esc50, "folder": ClassFolders, "vegas": Vegas, "vggsound": VggSound}
"""Readers of the data sets that are stored in a folder, by ``data.name``."""

NEARBY = 50
"""Sub folders that are looked into for a data set that is not where it should be."""


def open_dataset(config: DataConfig, keys: str = "data") -> Dataset:
    """Open the data set that ``config`` names. Reads lists of files, no audio.

    Raises
    ------
    VegasError
        ``data.root`` is not set, not a folder, not in the layout of ``data.name``, or cannot be read.
    """
    if config.name == "toy":
        return Toy(config.clips_per_class)
    if absent := missing_folder(config, keys):
        raise VegasError(absent)
    assert config.root is not None
    layout, root = LAYOUTS[config.name], Path(config.root).expanduser()
    try:
        return layout(root)
    except OtherLayout as error:
        raise VegasError(
            f"{keys}.root={config.root} {error}{_found_elsewhere(config.name, root)}; data={config.name} needs "
            f"{layout.NEEDS}"
        ) from error
    except OSError as error:
        raise VegasError(
            f"{keys}.root={config.root}: {error.filename} cannot be read ({error.strerror}); data={config.name} needs "
            f"{layout.NEEDS}"
        ) from error


def _found_elsewhere(name: str, root: Path) -> str:
    """Where the data set, or what data set, seems to be there instead, as a half sentence; "" if nowhere near."""
    layout = LAYOUTS[name]
    for other in LAYOUTS.keys() - {name, "folder"}:
        if _opens(LAYOUTS[other], root):
            return f"; it is in the layout of data={other}"
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))[:NEARBY]:
        if _opens(layout, folder):
            return f"; it seems to be one level down, in {folder}"
    above = _opens(layout, root.resolve().parent)
    if above and (name != "folder" or root.resolve().name in above.classes):
        return f"; it seems to be one level up, in {root.resolve().parent}"
    return ""


def _opens(layout: type[Layout], root: Path) -> Dataset | None:
    try:
        return layout(root)
    except (VegasError, OSError):
        return None


def missing_folder(config: DataConfig, keys: str = "data") -> str | None:
    """A sentence if the data set needs a folder that does not exist, else None."""
    if config.name == "toy":
        return None
    needs = f"data={config.name} needs {LAYOUTS[config.name].NEEDS}"
    if not config.root:
        return f"{keys}.root is not set, and {needs}; add {keys}.root=FOLDER"
    root = Path(config.root).expanduser()
    if not root.is_dir():
        seen = "is not a folder" if root.exists() else "does not exist"
        return f"{keys}.root={config.root} {seen}; {needs}"
    return None
