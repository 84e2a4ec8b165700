"""Clips are read as mono at the asked rate; what cannot be heard is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vegas_fl.audio.clips import FileClip
from vegas_fl.core.errors import VegasError


def clip(path: Path) -> FileClip:
    return FileClip.at(path, "dog")


def tone(rate: int, seconds: float, pitch: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_any_format_and_rate_becomes_the_same_tone(tmp_path: Path, ending: str, rate: int) -> None:
    path = tmp_path / f"tone.{ending}"
    soundfile.write(path, tone(rate, 2.0), rate)
    samples = clip(path).read(16_000, 5.0)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert abs(len(samples) - 32_000) <= 0.1 * 16_000  # mp3 adds a little silence
    middle = samples[8_000:24_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.05)


def test_stereo_is_averaged(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([tone(16_000, 1.0), np.zeros(16_000)], axis=1), 16_000)
    assert np.abs(clip(path).read(16_000, 5.0)).max() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("other", [-1.0, -0.95])
@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_of_channels_that_cancel_each_other_the_loudest_is_heard(tmp_path: Path, other: float, offset: float) -> None:
    sound = 0.5 * tone(16_000, 1.0)
    soundfile.write(tmp_path / "x.wav", offset + np.stack([other * sound, sound], axis=1), 16_000, subtype="FLOAT")
    cancelled: list[str] = []
    samples = clip(tmp_path / "x.wav").read(16_000, 5.0, cancelled)
    assert samples.std() == pytest.approx(sound.std(), rel=0.01)
    assert cancelled == [str(tmp_path / "x.wav")]


@pytest.mark.parametrize("channels", [2, 6, 16])
def test_a_channel_among_silent_ones_does_not_cancel(tmp_path: Path, channels: int) -> None:
    sound = np.zeros((16_000, channels))
    sound[:, 1] = tone(16_000, 1.0)
    soundfile.write(tmp_path / "x.wav", sound, 16_000)
    cancelled: list[str] = []
    samples = clip(tmp_path / "x.wav").read(16_000, 5.0, cancelled)
    assert samples.std() == pytest.approx(sound[:, 1].std() / channels, rel=0.01) and not cancelled


def test_a_name_that_is_not_utf8_can_be_read_and_told(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    soundfile.write(os.fsencode(path), tone(16_000, 1.0), 16_000)
    good = clip(path)
    assert good.name == f"{tmp_path}/caf\\xe9.wav" and good.name.encode()
    assert good.format() == (1.0, 16_000) and len(good.content()) == 64 and len(good.id(b"")) == 16
    assert len(good.read(16_000, 5.0)) == 16_000
    path.write_bytes(b"no sound")
    for failing in (good.format, lambda: good.read(16_000, 5.0)):
        with pytest.raises(
            VegasError, match=r"caf\\xe9.wav cannot be read as audio \(Format not recognised\)"
        ) as error:
            failing()
        assert str(error.value).encode()


def test_long_clips_are_cut_and_short_ones_stay(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", tone(22_050, 9.0), 22_050)
    soundfile.write(tmp_path / "short.flac", tone(22_050, 0.5), 22_050)
    assert len(clip(tmp_path / "long.flac").read(16_000, 5.0)) == 80_000
    assert len(clip(tmp_path / "short.flac").read(16_000, 5.0)) == 8_000


def test_float_files_beyond_full_scale_are_scaled_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, 6 * tone(16_000, 1.0), 16_000, subtype="FLOAT")
    samples = clip(path).read(16_000, 5.0)
    assert np.abs(samples).max() == pytest.approx(1.0)
    assert np.corrcoef(samples, tone(16_000, 1.0))[0, 1] == pytest.approx(1.0)


def test_content_follows_the_bytes_not_the_name(tmp_path: Path) -> None:
    for name, pitch in (("a", 440), ("b", 440), ("c", 441)):
        soundfile.write(tmp_path / f"{name}.wav", tone(16_000, 0.5, pitch), 16_000)
    a, b, c = (clip(tmp_path / f"{name}.wav").content() for name in "abc")
    assert a == b != c


def silent(path: Path) -> None:
    soundfile.write(path, np.zeros(16_000), 16_000)


def no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 16_000)


def not_a_number(path: Path) -> None:
    soundfile.write(path, np.where(np.arange(16_000) == 5, np.nan, tone(16_000, 1.0)), 16_000, subtype="FLOAT")


def infinite(path: Path) -> None:
    soundfile.write(path, np.where(np.arange(16_000) == 5, np.inf, tone(16_000, 1.0)), 16_000, subtype="FLOAT")


def constant(path: Path) -> None:
    soundfile.write(path, np.full(44_100, 0.4), 44_100)


def constants(path: Path) -> None:
    soundfile.write(path, np.stack([np.full(16_000, 0.3), np.full(16_000, -0.4)], axis=1), 16_000)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def text(path: Path) -> None:
    path.write_text("not a recording")


def truncated(path: Path) -> None:
    soundfile.write(path, tone(16_000, 1.0), 16_000)
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize(
    ("make", "seen"),
    [
        (silent, "silent"),
        (no_samples, "empty"),
        (Path.touch, "empty (0 bytes)"),
        (not_a_number, "NaN"),
        (infinite, "infinite"),
        (constant, "silent (peak 0.0e+00 of 1 around a constant 0.40"),
        (constants, "silent"),
        (pipe, "is not a regular file"),
        (Path.mkdir, "is not a regular file"),
        (text, "cannot be read as audio"),
        (truncated, "cannot be read as audio"),
        (lambda path: None, "does not exist"),
    ],
)
def test_what_cannot_be_heard_is_named_and_refused(tmp_path: Path, make, seen: str) -> None:
    path = tmp_path / "bad.wav"
    make(path)
    with pytest.raises(VegasError) as error:
        clip(path).read(16_000, 5.0)
    assert str(path) in str(error.value)
    assert seen in str(error.value)
