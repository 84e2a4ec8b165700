"""The building blocks of synthesised sounds: sources, filters and envelopes."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

RATE = 16_000
SECONDS = 5.0
SIZE = int(RATE * SECONDS)

Points = Sequence[tuple[float, float]]
"""A frequency response as (Hz, dB) pairs, straight lines between them over the logarithm of frequency."""


def response(size: int, points: Points) -> np.ndarray:
    """Gains ``[size // 2 + 1]`` of a response given by points."""
    decibels = np.interp(_pitches(size), np.log([f + 1.0 for f, _ in points]), [d for _, d in points])
    return np.exp(decibels.astype(np.float32) * np.float32(np.log(10) / 20))


@functools.lru_cache(maxsize=8)
def _pitches(size: int) -> np.ndarray:
    """Logarithms of the frequencies of a spectrum's bins."""
    return np.log(np.fft.rfftfreq(size, 1 / RATE) + 1.0)


def filtered(sound: np.ndarray, points: Points) -> np.ndarray:
    """``sound`` through a response, without delay."""
    return np.fft.irfft(np.fft.rfft(sound.astype(np.float32)) * response(len(sound), points), len(sound))


def noise(rng: Generator, size: int, points: Points) -> np.ndarray:
    """Noise ``[size]`` of a spectrum, with standard deviation 1."""
    gains = response(size, points)
    parts = rng.standard_normal(2 * len(gains), np.float32).view(np.complex64)
    sound = np.fft.irfft(parts * gains, size)
    return sound / sound.std()


def grains(rng: Generator, points: Points, seconds: float = 1.0) -> Callable[[int], np.ndarray]:
    """A source of many noises of one spectrum: random pieces of ``seconds`` of it."""
    long = noise(rng, samples(seconds), points)

    def grain(size: int) -> np.ndarray:
        start = int(rng.integers(len(long) - size))
        return long[start : start + size]

    return grain


def wander(rng: Generator, size: int, per_second: float) -> np.ndarray:
    """A random curve ``[size]`` in [-1, 1] that turns ``per_second`` times a second."""
    knots = max(2, int(size / RATE * per_second) + 2)
    places = np.linspace(0, knots - 1, size)
    return np.interp(places, np.arange(knots), rng.uniform(-1, 1, knots)).astype(np.float32)


def curve(size: int, *points: tuple[float, float]) -> np.ndarray:
    """Straight lines through (place in [0, 1], value)."""
    values = np.interp(np.linspace(0, 1, size), [p for p, _ in points], [v for _, v in points])
    return values.astype(np.float32)


def cycles(pitch: np.ndarray) -> np.ndarray:
    """Periods since the start, of a tone of gliding ``pitch`` [N] in Hz."""
    return np.cumsum(pitch, dtype=np.float64) / RATE


def swing(pitch: np.ndarray) -> np.ndarray:
    """A sine ``[N]`` of gliding ``pitch`` in Hz."""
    return np.sin(((2 * np.pi) * (cycles(pitch) % 1.0)).astype(np.float32))


def buzz(pitch: np.ndarray, tilt: float = 1.0) -> np.ndarray:
    """All harmonics of a gliding ``pitch`` [N] in Hz below 7.6 kHz, the k-th with amplitude k ** -tilt."""
    harmonics = np.arange(1, np.clip(7600 / pitch.max(), 2, 1024), dtype=np.float32)
    table = np.zeros(1025, np.complex64)
    table[1 : len(harmonics) + 1] = harmonics**-tilt * np.exp(0.7j * harmonics**2)
    wave = np.fft.irfft(table, 2048)
    wave /= np.abs(wave).max()
    return wave[(cycles(pitch) * 2048).astype(np.int64) % 2048]


def place(sound: np.ndarray, grain: np.ndarray, at: float, gain: float = 1.0) -> None:
    """Add a grain to ``sound`` from ``at`` seconds on."""
    start = int(at * RATE)
    stop = min(len(sound), start + len(grain))
    if 0 <= start < stop:
        sound[start:stop] += gain * grain[: stop - start]


def decay(size: int, seconds: float, attack: float = 0.002) -> np.ndarray:
    """A linear rise of ``attack`` seconds, then an exponential fall to a third in ``seconds``."""
    time = np.arange(size, dtype=np.float32) / RATE
    return np.minimum(time / attack, 1.0) * np.exp(-time / seconds)


def samples(seconds: float) -> int:
    """Samples in ``seconds``, to the next 10 ms: such lengths have fast Fourier transforms."""
    return max(1, round(seconds * 100)) * (RATE // 100)


def loguniform(rng: Generator, low: float, high: float) -> float:
    """A number between two bounds, octaves equally likely."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def room(rng: Generator, sound: np.ndarray, seconds: float, wet: float) -> np.ndarray:
    """``sound`` with its echo: noise that falls to a third in ``seconds``; ``wet`` is the echo's share."""
    tail = np.zeros(len(sound), np.float32)
    size = min(samples(5 * seconds), len(sound))
    tail[:size] = rng.standard_normal(size, np.float32) * np.exp(-np.arange(size) / (RATE * seconds))
    echo = np.fft.irfft(np.fft.rfft(sound.astype(np.float32)) * np.fft.rfft(tail), len(sound))
    return sound + echo * (wet * sound.std() / echo.std())
