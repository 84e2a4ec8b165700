"""VEGAS: ``<class>/audios/video_00000.wav``.

Y. Zhou, Z. Wang, C. Fang, T. Bui, T. L. Berg, "Visual to Sound: Generating Natural Sound for Videos in the Wild",
2018. Only ``audios/`` is needed; ``videos/`` is not read. ``img/video_00000.jpg`` (or png) is a frame of the video,
with which a picture drawn from the recording is compared. ``video_info.csv`` names the YouTube video of each recording:
row n, counted from 0 (YTID, start_second, end_second), is for ``video_<n>``.
"""

import re
from dataclasses import replace

from vegas_fl.audio.clips import Clip, FileClip
from vegas_fl.core.names import normal, shown
from vegas_fl.data.datasets.captions import captions_of
from vegas_fl.data.datasets.folder import ClassFolders
from vegas_fl.data.datasets.tables import records

FRAMES = (".jpg", ".jpeg", ".png")


class Vegas(ClassFolders):
    """Recordings in ``<class>/audios/``, with their captions and the videos they were cut from, if known."""

    NEEDS = "a folder in VEGAS's layout (<class>/audios/*.wav)"
    PLACE, BELOW = "<class>/audios/", "audios"

    def clips(self, label: str) -> list[Clip]:
        if not (clips := self._clips.get(label)):
            return []
        folder = self._folders[label].parent
        names = [normal(shown(clip.path.stem)) for clip in clips]
        captions = captions_of(self._root, folder, label, set(names))
        info = folder / "video_info.csv"
        videos = [row["YTID"] for _, row in records(info, ["YTID"])] if info.exists() else []
        frames = {path.stem: path for path in sorted((folder / "img").glob("*.*")) if path.suffix.lower() in FRAMES}
        return [
            replace(clip, caption=captions.get(name), source=_video(clip, videos), frame=frames.get(clip.path.stem))
            for name, clip in zip(names, clips, strict=True)
        ]


def _video(clip: FileClip, videos: list[str]) -> str | None:
    """The video a recording was cut from, if known."""
    number = re.fullmatch(r"video_(\d+)", clip.path.stem)
    row = int(number[1]) if number else len(videos)
    return videos[row] or None if row < len(videos) else None
