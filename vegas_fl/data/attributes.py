"""What can be measured of a sound, in words: "loud", "high-pitched", "rapid", "short".

The words are absolute (thresholds in dB, Hz, events a second and seconds), so that all nodes mean the same by them.
What lies between the thresholds, near the median of ESC-10, goes without a word.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vegas_fl.data.classes import words

FRAME = 0.025
"""Seconds of a frame."""

SOUNDING = 30.0
"""dB below the loudest frame from which a frame counts as silence."""

RISE, RISE_TIME = 6.0, 4
"""dB that the level rises by within so many frames where something begins."""

QUIET, LOUD = -24.0, -16.0
LOW, HIGH = 700.0, 1600.0
RAPID = 2.0
SHORT = 1.5

SETTINGS = (FRAME, SOUNDING, RISE, RISE_TIME, QUIET, LOUD, LOW, HIGH, RAPID, SHORT)
"""All that words depend on beside the recording: words that were kept are of these."""


class Attributes(NamedTuple):
    """Level of the sounding frames in dB of full scale; their spectral centroid in Hz; beginnings a second; seconds
    that sound."""

    level: float
    centroid: float
    rate: float
    seconds: float

    @property
    def words(self) -> list[str]:
        """What stands out."""
        found = []
        if self.level >= LOUD or self.level <= QUIET:
            found.append("loud" if self.level >= LOUD else "quiet")
        if self.centroid >= HIGH or self.centroid <= LOW:
            found.append("high-pitched" if self.centroid >= HIGH else "low-pitched")
        if self.rate >= RAPID:
            found.append("rapid")
        if self.seconds <= SHORT:
            found.append("short")
        return found


def measure(samples: np.ndarray, rate: int) -> Attributes:
    """Attributes of a clip ``[N]`` at ``rate`` Hz."""
    size = round(FRAME * rate)
    padded = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size)
    level = 10 * np.log10((padded**2).mean(1) + 1e-10)
    sounding = padded[level > level.max() - SOUNDING]
    power = (np.abs(np.fft.rfft(sounding * np.hanning(size), axis=1)) ** 2).sum(0)
    centroid = float((power * np.fft.rfftfreq(size, 1 / rate)).sum() / (power.sum() + 1e-10))
    rising = np.diff(np.concatenate([[0.0] * RISE_TIME, level - level.max() + SOUNDING]).clip(0), prepend=0.0)
    rises = np.convolve(rising, np.ones(RISE_TIME), "valid") > RISE
    begins = int((rises[1:] & ~rises[:-1]).sum()) + int(rises[:1].sum())
    seconds = len(samples) / rate
    return Attributes(
        float(10 * np.log10((sounding**2).mean() + 1e-10)), centroid, begins / seconds, len(sounding) * FRAME
    )


def described(label: str, attributes: list[str]) -> str:
    """A class with attributes: "a loud, high-pitched dog"."""
    noun = words(label)
    if not attributes:
        return noun
    article, _, rest = noun.partition(" ")
    if article in ("a", "an"):
        return f"a {', '.join(attributes)} {rest}"
    return f"{', '.join(attributes)} {noun}"
