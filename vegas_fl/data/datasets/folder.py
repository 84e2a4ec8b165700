"""A folder per class: ``<root>/<class>/<any name>.wav`` (or flac, ogg, mp3)."""

from pathlib import Path

from vegas_fl.audio.clips import AUDIO_FILES, FileClip, recordings
from vegas_fl.core.errors import OtherLayout, VegasError
from vegas_fl.core.names import normal, shown
from vegas_fl.data.datasets.base import Dataset


class ClassFolders(Dataset):
    """Recordings in folders named after their class."""

    NEEDS = "a folder that holds a folder of recordings per class"
    PLACE, BELOW = "folder", "."
    """Where recordings are, in words, and below the folder of a class."""

    def __init__(self, root: Path) -> None:
        self._root, self._folders = root, class_folders(root, self.BELOW)
        found = {label: recordings(folder, label) for label, folder in self._folders.items()}
        self._clips: dict[str, list[FileClip]] = {label: clips for label, clips in found.items() if clips}
        if not self._clips:
            raise OtherLayout(f"has no {self.PLACE} with recordings ({', '.join(AUDIO_FILES)})")


def class_folders(root: Path, below: str = ".") -> dict[str, Path]:
    """The folders in ``root``, or their folders ``below``, by the class they are named after.

    Raises
    ------
    VegasError
        Two folders are named after one class.
    """
    found: dict[str, Path] = {}
    for folder in sorted(root.iterdir()):
        label = normal(shown(folder.name))
        if label.startswith(".") or not (folder / below).is_dir():
            continue
        if label in found:
            raise VegasError(
                f"{shown(root)} has two folders for the class {label}, whose names are the same letters in different "
                "Unicode forms; move their recordings into one and remove the other"
            )
        found[label] = folder / below
    return found
