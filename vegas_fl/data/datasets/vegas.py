"""VEGAS: ``<class>/audios/video_00000.wav``.

Y. Zhou, Z. Wang, C. Fang, T. Bui, T. L. Berg, "Visual to Sound: Generating Natural Sound for Videos in the Wild",
2018. Only ``audios/`` is needed; ``img/`` and ``videos/`` are not read. ``video_info.csv`` names the YouTube video of
each recording: row n, counted from 0 (YTID, start_second, end_second), is for ``video_<n>``.
"""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

from vegas_fl.audio.clips import AUDIO_FILES, Clip, FileClip, passed_over, recordings
from vegas_fl.core.errors import OtherLayout, VegasError
from vegas_fl.data.datasets.captions import captions_of
from vegas_fl.data.datasets.tables import table


class Vegas:
    """Recordings in ``<class>/audios/``, with their captions and the videos they were cut from, if known."""

    NEEDS = "a folder in VEGAS's layout (<class>/audios/*.wav)"

    def __init__(self, root: Path) -> None:
        self._clips = {
            folder.name: clips
            for folder in sorted(root.iterdir())
            if (folder / "audios").is_dir() and (clips := recordings(folder / "audios", folder.name))
        }
        if not self._clips:
            below = [path.name for path in sorted(root.iterdir()) if next(path.glob("*/audios"), None)]
            hint = f"; they seem to be one level down, in {root / below[0]}" if below else ""
            raise OtherLayout(f"has no <class>/audios/ with recordings ({', '.join(AUDIO_FILES)}){hint}")
        self._root = root

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self._clips)

    def clips(self, label: str) -> list[Clip]:
        clips = self._clips.get(label, [])
        if not clips:
            return []
        captions = captions_of(self._root, label, {clip.path.stem for clip in clips})
        videos = read_videos(self._root / label / "video_info.csv")
        return [
            replace(clip, caption=captions.get(clip.path.stem), source=_video(clip, videos, label)) for clip in clips
        ]

    def passed_over(self, label: str) -> list[str]:
        return passed_over(self._root / label / "audios")


def read_videos(path: Path) -> list[str]:
    """The YouTube ids in ``video_info.csv``, one for each row; none if the file does not exist.

    Raises
    ------
    VegasError
        It cannot be read, or has no column YTID.
    """
    if not path.exists():
        return []
    with table(path) as file:
        rows = csv.DictReader(file)
        if "YTID" not in (rows.fieldnames or ()):
            raise VegasError(
                f"{path} has no column YTID; expected YTID, start_second and end_second; repair or remove it"
            )
        return [row["YTID"] or "" for row in rows]


def _video(clip: FileClip, videos: list[str], label: str) -> str | None:
    """The video a recording was cut from, if known."""
    number = re.fullmatch(r"video_(\d+)", clip.path.stem)
    row = int(number[1]) if number else len(videos)
    return videos[row] or None if row < len(videos) else None
