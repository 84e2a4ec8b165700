"""Clips: recordings, read as mono samples at the audio encoder's rate."""

from __future__ import annotations

import abc
import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr

from vegas_fl.core.errors import AboutRecordings, VegasError, some

SILENCE = 1e-4
"""A clip whose loudest sample is below this (-80 dBFS) is silent."""

AUDIO_FILES = (".wav", ".flac", ".ogg", ".mp3")
"""Endings of files that are read as recordings, in lower case."""

OTHER_SOUNDS = (".aac", ".aif", ".aiff", ".amr", ".au", ".m4a", ".mp4", ".oga", ".opus", ".webm", ".wma")
"""Endings of audio files that cannot be read."""


@dataclass(frozen=True)
class Clip(abc.ABC):
    """One recording of one class.

    Attributes
    ----------
    label : str
        Its class.
    name : str
        Its name in messages: the path of a file, or "toy dog 17".
    fold : int or None
        Its fold, in data sets that have folds.
    caption : str or None
        A text that says what is to be seen, in data sets that have captions.
    source : str or None
        The longer recording it was cut from, if known: clips from one source resemble each other.
    """

    label: str
    name: str
    fold: int | None
    caption: str | None = field(default=None, kw_only=True)
    source: str | None = field(default=None, kw_only=True)

    @abc.abstractmethod
    def content(self) -> str:
        """Hash (SHA-256, hex) of the recording: the same for copies under other names."""

    @abc.abstractmethod
    def read(self, rate: int, max_seconds: float) -> np.ndarray:
        """Samples ``[N]`` float32 in [-1, 1], mono, at ``rate`` Hz; at most ``max_seconds``, not padded.

        Raises
        ------
        VegasError
            The recording is missing, unreadable, empty, silent or not finite.
        """

    @abc.abstractmethod
    def format(self) -> tuple[float, int]:
        """Length in seconds and sample rate in Hz of the whole recording, from its header.

        Raises
        ------
        VegasError
            The recording is missing or unreadable.
        """

    @property
    def id(self) -> str:
        """Its name in manifests: a hash of class and file name, which reveals neither folders nor content."""
        return hashlib.sha256(f"{self.label}/{Path(self.name).name}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class FileClip(Clip):
    """A recording on disk: wav, flac, ogg or mp3, any rate and number of channels."""

    path: Path

    def content(self) -> str:
        try:
            with open(self.path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _bad(self, f"cannot be opened ({error.strerror})", "check the path and its permissions") from error

    def read(self, rate: int, max_seconds: float) -> np.ndarray:
        replace = "replace the file or take it out of the data set"
        try:
            with soundfile.SoundFile(self.path) as file:
                native = file.samplerate
                channels = file.read(math.ceil(max_seconds * native), dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            raise self._unreadable(error) from error
        if not len(channels):
            raise _bad(self, "is empty (no samples)", replace)
        if not np.isfinite(channels).all():
            raise _bad(self, "has samples that are NaN or infinite", replace)
        samples = channels.mean(axis=1)
        if rate != native:
            samples = soxr.resample(samples, native, rate)
        samples = samples[: round(max_seconds * rate)]
        peak = float(np.abs(samples).max(initial=0.0))
        if peak < SILENCE:
            seconds = len(channels) / native
            raise _bad(self, f"is silent (peak {peak:.1e} of 1 in the {seconds:.1f} s that are read)", replace)
        # Float files may exceed full scale, and resampling may overshoot. Clipping would distort, so scale.
        return (samples / max(peak, 1.0)).astype(np.float32)

    def format(self) -> tuple[float, int]:
        try:
            about = soundfile.info(self.path)
        except (soundfile.SoundFileError, OSError) as error:
            raise self._unreadable(error) from error
        return about.duration, about.samplerate

    def _unreadable(self, error: Exception) -> VegasError:
        if not self.path.is_file():
            return _bad(self, "does not exist", "restore it or take it out of the data set")
        replace = "replace the file or take it out of the data set"
        if self.path.stat().st_size == 0:
            return _bad(self, "is empty (0 bytes)", replace)
        reason = str(error).removeprefix(f"Error opening {str(self.path)!r}: ").rstrip(".")
        return _bad(self, f"cannot be read as audio ({reason})", replace)


def recordings(folder: Path, label: str) -> list[FileClip]:
    """The recordings in a folder, by name, without hidden files (such as macOS's ``._x.wav``)."""
    return [
        FileClip(label, str(path), None, path)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in AUDIO_FILES and not path.name.startswith(".") and not path.is_dir()
    ]


def passed_over(folder: Path) -> list[str]:
    """Audio files that :func:`recordings` does not read, because of their format or because they are in sub folders: a
    list of one sentence, or of none."""
    missed = [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in (*AUDIO_FILES, *OTHER_SOUNDS)
        and (path.parent != folder or path.suffix.lower() in OTHER_SOUNDS)
        and not path.name.startswith(".")
        and path.is_file()
    ]
    if not missed:
        return []
    return [f"not read in {folder}: {some(missed)}; recordings are {', '.join(AUDIO_FILES)}, in the folder itself"]


def _bad(clip: Clip, seen: str, remedy: str) -> AboutRecordings:
    return AboutRecordings(f"{clip.name} {seen}; {remedy}")
