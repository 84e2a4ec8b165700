"""Toy recordings: the same for ever, all different, and heard as what they claim to be."""

from __future__ import annotations

import numpy as np
import pytest

from vegas_fl.data.classes import VEGAS
from vegas_fl.data.datasets.toy import Toy
from vegas_tiny.recipe.recognition import report


@pytest.mark.parametrize("label", sorted(VEGAS))
def test_clips_are_five_seconds_of_sound_and_reproducible(label: str) -> None:
    first, second = Toy(2).clips(label)
    samples = first.read(16_000, 5.0)
    assert samples.shape == (80_000,)
    assert samples.dtype == np.float32
    assert 0.25 < np.abs(samples).max() <= 1
    assert np.array_equal(samples, Toy(9).clips(label)[0].read(16_000, 5.0))
    assert not np.array_equal(samples, second.read(16_000, 5.0))


def test_classes_are_those_of_vegas() -> None:
    toy = Toy(3)
    assert toy.classes == tuple(sorted(VEGAS))
    assert [clip.name for clip in toy.clips("dog")] == ["toy dog 0", "toy dog 1", "toy dog 2"]
    assert toy.clips("cat") == []


def test_content_is_known_without_making_the_sound() -> None:
    clips = [clip for label in Toy(20).classes for clip in Toy(20).clips(label)]
    assert len({clip.content() for clip in clips}) == len(clips) == 200


@pytest.mark.parametrize("rate", [8_000, 22_050])
def test_any_rate_and_length(rate: int) -> None:
    samples = Toy(1).clips("snoring")[0].read(rate, 2.0)
    assert samples.shape == (2 * rate,)
    assert np.abs(samples).max() <= 1


def test_a_few_clips_of_the_default_classes_are_recognised() -> None:
    figures = report(6, ("chainsaw", "dog"))
    assert min(figures["recognised"].values()) >= 0.5
    assert figures["nearest_mean"] == 1


@pytest.mark.slow
def test_yamnet_recognises_the_classes_of_the_clips() -> None:
    figures = report(50)
    assert figures["classes_recognised"] >= 7, figures["recognised"]
    assert figures["nearest_mean"] >= 0.97
    assert min(figures["variety"].values()) >= 0.1
