"""A folder per class: ``<root>/<class>/<any name>.wav`` (or flac, ogg, mp3)."""

from __future__ import annotations

from pathlib import Path

from vegas_fl.audio.clips import AUDIO_FILES, Clip, FileClip, passed_over, recordings
from vegas_fl.core.errors import OtherLayout


class ClassFolders:
    """Recordings in folders named after their class."""

    NEEDS = "a folder that holds a folder of recordings per class"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._clips: dict[str, list[FileClip]] = {
            folder.name: clips
            for folder in sorted(root.iterdir())
            if folder.is_dir() and not folder.name.startswith(".") and (clips := recordings(folder, folder.name))
        }
        if not self._clips:
            raise OtherLayout(f"has no folder with recordings ({', '.join(AUDIO_FILES)})")

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self._clips)

    def clips(self, label: str) -> list[Clip]:
        return list(self._clips.get(label, []))

    def passed_over(self, label: str) -> list[str]:
        return passed_over(self._root / label)
