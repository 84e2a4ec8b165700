"""Clips: recordings, read as mono samples at the audio encoder's rate."""

import abc
import hashlib
import hmac
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import soundfile
import soxr

from vegas_fl.core.errors import AboutRecordings, VegasError, some
from vegas_fl.core.modelfiles import seen
from vegas_fl.core.names import shown

SILENCE = 1e-4
"""A clip that never deviates from its mean by more than this (-80 dBFS) is silent."""

CANCELS = 0.2
"""N channels cancel each other if their mix is quieter than this share of 1/N of the loudest channel. (The mix of one
channel with silent ones is 1/N of it.)"""

AUDIO_FILES = (".wav", ".flac", ".ogg", ".mp3")
"""Endings of files that are read as recordings, in lower case."""

OTHER_SOUNDS = (".aac", ".aif", ".aiff", ".amr", ".au", ".m4a", ".mp4", ".oga", ".opus", ".webm", ".wma")
"""Endings of audio files that cannot be read."""


@dataclass(frozen=True)
class Clip(abc.ABC):
    """One recording of one class."""

    label: str  # its class
    name: str  # in messages: the path of a file, or "toy dog 17"; it can always be printed
    fold: int | None  # in data sets that have folds
    caption: str | None = field(default=None, kw_only=True)  # a text that says what is to be seen
    source: str | None = field(default=None, kw_only=True)  # longer recording it was cut from
    frame: Path | None = field(default=None, kw_only=True, compare=False)  # a picture of its video

    @abc.abstractmethod
    def content(self) -> str:
        """Hash (SHA-256, hex) of the recording: the same for copies under other names."""

    @abc.abstractmethod
    def read(self, rate: int, max_seconds: float, cancelled: list[str] | None = None) -> np.ndarray:
        """Samples ``[N]`` float32 in [-1, 1], mono, at ``rate`` Hz; at most ``max_seconds``, not padded. Its name
        is added to ``cancelled`` if its channels cancel each other, so that the loudest one is read: see
        :func:`loudest_channel`.

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

    def id(self, secret: bytes) -> str:
        """Its name in manifests: a hash of class and file name, keyed so that guessed names cannot be tried
        (HMAC-SHA256)."""
        name = f"{self.label}/{Path(self.name).name}".encode()
        return hmac.new(secret, name, hashlib.sha256).hexdigest()[:16]


@dataclass(frozen=True)
class FileClip(Clip):
    """A recording on disk: wav, flac, ogg or mp3, any rate and number of channels."""

    path: Path

    @classmethod
    def at(cls, path: Path, label: str, fold: int | None = None, source: str | None = None) -> Self:
        """The clip in a file, named by its path."""
        return cls(label, shown(path), fold, path, source=source)

    def content(self) -> str:
        self._check_regular()
        try:
            with open(self.path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _bad(self, f"cannot be opened ({error.strerror})", "check the path and its permissions") from error

    def read(self, rate: int, max_seconds: float, cancelled: list[str] | None = None) -> np.ndarray:
        replace = "replace the file or take it out of the data set"
        self._check_regular()
        try:
            with soundfile.SoundFile(os.fsencode(self.path)) as file:
                native = file.samplerate
                channels = file.read(math.ceil(max_seconds * native), dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            raise self._unreadable(error) from error
        if not len(channels):
            raise _bad(self, "is empty (no samples)", replace)
        if not np.isfinite(channels).all():
            raise _bad(self, "has samples that are NaN or infinite", replace)
        mono = channels.mean(axis=1)
        loudness = channels.std(axis=0)
        if cancel := mono.std() < CANCELS / len(loudness) * loudness.max():
            mono = np.ascontiguousarray(channels[:, loudness.argmax()])
        samples = soxr.resample(mono, native, rate) if rate != native else mono
        samples = samples[: round(max_seconds * rate)]
        swing = min(_swing(mono), _swing(samples))
        if swing < SILENCE:
            constant = f" around a constant {mono.mean():.2f}" if abs(mono.mean()) >= SILENCE else ""
            seconds = f"{len(channels) / native:.1f} s"
            raise _bad(self, f"is silent (peak {swing:.1e} of 1{constant} in the {seconds} that are read)", replace)
        if cancel and cancelled is not None:
            cancelled.append(self.name)
        peak = float(np.abs(samples).max())
        # Float files may exceed full scale, and resampling may overshoot. Clipping would distort, so scale.
        return (samples / max(peak, 1.0)).astype(np.float32)

    def format(self) -> tuple[float, int]:
        self._check_regular()
        try:
            about = soundfile.info(os.fsencode(self.path))
        except (soundfile.SoundFileError, OSError) as error:
            raise self._unreadable(error) from error
        return about.duration, about.samplerate

    def _check_regular(self) -> None:
        """Opening a pipe would wait for ever, and reading some devices never ends."""
        if self.path.exists() and not self.path.is_file():
            raise _bad(self, "is not a regular file (but a folder, pipe, socket or device)", "take it out")

    def _unreadable(self, error: Exception) -> VegasError:
        if not self.path.is_file():
            return _bad(self, "does not exist", "restore it or take it out of the data set")
        replace = "replace the file or take it out of the data set"
        if self.path.stat().st_size == 0:
            return _bad(self, "is empty (0 bytes)", replace)
        reason = seen(self.path, getattr(error, "error_string", error)).rstrip(".")
        return _bad(self, f"cannot be read as audio ({reason})", replace)


def _swing(samples: np.ndarray) -> float:
    """The largest deviation of samples from their mean."""
    return float(np.abs(samples - samples.mean()).max()) if len(samples) else 0.0


def loudest_channel(names: Sequence[str]) -> str:
    """A note for the owner of recordings whose channels cancel each other."""
    return f"channels cancel each other when they are mixed, so the loudest one is used: {some(sorted(names))}"


def recordings(folder: Path, label: str) -> list[FileClip]:
    """The recordings in a folder, by name, without hidden files (such as macOS's ``._x.wav``) and pipes. A dangling
    link counts as a recording that is missing."""
    return [
        FileClip.at(path, label)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in AUDIO_FILES
        and not path.name.startswith(".")
        and (path.is_file() or not path.exists())
    ]


def passed_over(folder: Path) -> list[str]:
    """Audio files that :func:`recordings` does not read, because of their format, because they are in sub folders, or
    because they are not regular files: a list of one sentence, or of none."""
    read = {clip.path for clip in recordings(folder, "")}
    missed = [
        shown(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in (*AUDIO_FILES, *OTHER_SOUNDS)
        and path not in read
        and not path.name.startswith(".")
        and not path.is_dir()
    ]
    if not missed:
        return []
    kinds = ", ".join(AUDIO_FILES)
    return [f"not read in {shown(folder)}: {some(missed)}; recordings are {kinds} files, in the folder itself"]


def _bad(clip: Clip, seen: str, remedy: str) -> AboutRecordings:
    return AboutRecordings(f"{clip.name} {seen}; {remedy}")
