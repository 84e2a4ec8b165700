"""VEGAS: ``<class>/audios/video_00000.wav``, and beside ``audios/`` what the data set has of pictures and videos.

Y. Zhou, Z. Wang, C. Fang, T. Bui, T. L. Berg, "Visual to Sound: Generating Natural Sound for Videos in the Wild",
2018. Of a class's folder, only ``audios/`` is needed; ``img/``, ``videos/`` and ``video_info.csv`` are not read.
``captions.json``, where there is one, says in words what each recording shows.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from vegas_fl.clips import AUDIO_FILES, Clip, FileClip, recordings
from vegas_fl.errors import VegasError, some


class Vegas:
    """Recordings in ``<class>/audios/``."""

    NEEDS = "a folder in VEGAS's layout (<class>/audios/*.wav)"

    def __init__(self, root: Path) -> None:
        self._clips = {
            folder.name: clips
            for folder in sorted(root.iterdir())
            if (folder / "audios").is_dir() and (clips := recordings(folder / "audios", folder.name))
        }
        if not self._clips:
            below = [path.name for path in sorted(root.iterdir()) if next(path.glob("*/audios"), None)]
            hint = f"; it seems to be one level down: data.root={root / below[0]}" if below else ""
            raise VegasError(
                f"data.root={root} has no <class>/audios/ with recordings ({', '.join(AUDIO_FILES)}); "
                f"data=vegas needs {self.NEEDS}{hint}"
            )
        self._root = root

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self._clips)

    def clips(self, label: str) -> list[Clip]:
        clips, path = self._clips.get(label, []), self._root / label / "captions.json"
        if not clips or not path.exists():
            return list(clips)
        return list(_captioned(clips, read_captions(path), path))


def read_captions(path: Path) -> dict[str, str]:
    """Captions by recording, named without its ending.

    The file maps a name to its caption (or to a list of captions, of which the first is taken), or lists objects
    with a ``caption`` and one further text, the name.

    Raises
    ------
    VegasError
        It is neither.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise VegasError(f"{path} cannot be read as JSON ({error}); repair it or take it away") from error
    pairs = list(content.items()) if isinstance(content, dict) else [_named(entry) for entry in content]
    captions = {}
    for name, caption in pairs:
        text = caption[0] if isinstance(caption, list) and caption else caption
        if not isinstance(name, str) or not isinstance(text, str) or not text.strip():
            raise VegasError(
                f'{path}: {name!r} has the caption {caption!r}; needed is {{"video_00000": "a dog barks"}}'
            )
        captions[Path(name).stem] = text.strip()
    return captions


def _named(entry: Any) -> tuple[str | None, Any]:
    """Name and caption of an entry of a list."""
    names = [value for key, value in entry.items() if key != "caption"] if isinstance(entry, dict) else []
    texts = [value for value in names if isinstance(value, str)]
    return (texts[0], entry.get("caption")) if texts else (None, entry)


def _captioned(clips: list[FileClip], captions: dict[str, str], path: Path) -> list[FileClip]:
    if strange := sorted(set(captions) - {clip.path.stem for clip in clips}):
        raise VegasError(
            f"{path} has captions for {len(strange)} recordings that are not in {path.parent / 'audios'}: "
            f"{some(strange)}; restore the recordings or take their captions out"
        )
    return [replace(clip, caption=captions.get(clip.path.stem)) for clip in clips]
