"""Measured attributes of a sound, in words: "loud", "high-pitched", "rapid", "short".

Thresholds are absolute (dB, Hz, onsets per second, seconds), so that the words mean the same on all nodes. A value
between the thresholds, near the median of ESC-10, gets no word.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from vegas_fl.algorithm.pooling import REPEATS

FRAME = 0.025
"""Length of a frame in seconds."""

SOUNDING = 30.0
"""A frame this many dB below the loudest one is silent."""

RISE, RISE_TIME = 6.0, 4
"""An onset is a rise in level by this many dB within this many frames."""

QUIET, LOUD = -24.0, -16.0
LOW, HIGH = 700.0, 1600.0
RAPID = 2.0
SHORT = 1.5

SETTINGS = (FRAME, SOUNDING, RISE, RISE_TIME, QUIET, LOUD, LOW, HIGH, RAPID, SHORT)
"""Everything the words depend on, apart from the recording: part of the key of cached words."""


class Attributes(NamedTuple):
    """Level (dBFS) and spectral centroid (Hz) of the frames that are not silent, onsets per second, and the length
    of those frames in seconds."""

    level: float
    centroid: float
    rate: float
    seconds: float

    @property
    def words(self) -> list[str]:
        """A word for each attribute that stands out."""
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

    @property
    def features(self) -> list[float]:
        """How much each word applies, from -1 (not at all) to 1: 0 at its threshold."""
        octave = np.log2(max(self.centroid, 1.0))
        margins = [
            (self.level - LOUD) / 1.0,
            (QUIET - self.level) / 1.0,
            (octave - np.log2(HIGH)) / 0.15,
            (np.log2(LOW) - octave) / 0.15,
            (self.rate - RAPID) / 0.2,
            (SHORT - self.seconds) / 1.0,
        ]
        return [float(np.tanh(2 * margin)) for margin in margins]


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


def appended(embeddings: torch.Tensor, waveforms: Sequence[np.ndarray], rate: int) -> torch.Tensor:
    """Embeddings ``[B, S, D]`` with the features of their clips after each token: ``[B, S, D + ATTRIBUTE_WIDTH]``.

    They are repeated so that they weigh enough in a generator's loss, and no statistics of recordings scale them.
    """
    features = torch.tensor([measure(samples, rate).features for samples in waveforms])
    repeated = features.repeat(1, REPEATS)[:, None].expand(-1, embeddings.shape[1], -1)
    return torch.cat([embeddings, repeated], 2)
