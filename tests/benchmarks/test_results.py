"""Results of suites: intervals are over recordings, differences are paired, and finished work is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vegas_fl.audio.clips import Clip
from vegas_fl.benchmarks.results import Result, compared, read, table, write
from vegas_fl.benchmarks.suites import Mixed, Unseen
from vegas_fl.data.datasets.toy import Toy

CLIPS = 40


def unseen(recordings: int) -> dict[tuple[str, str], Unseen]:
    """Forty clips of one class, cut from so many recordings."""
    names = [str(i * recordings // CLIPS) for i in range(CLIPS)]
    return {("clean", "task"): Unseen(torch.zeros(CLIPS, 1, 1), torch.zeros(CLIPS, dtype=torch.long), names)}


def result(method: str, right: int, seed: int = 0) -> Result:
    bits = "1" * right + "0" * (CLIPS - right)
    return Result("", "clean", "task", method, seed, bits, bits)


def width(figure) -> float:
    return figure.interval[1] - figure.interval[0]


def test_clips_of_one_recording_count_as_one():
    results = [result("centralised", 30)]
    many, few = (compared(results, unseen(n))["clean"]["centralised"]["clip"] for n in (40, 4))
    assert many.mean == few.mean == 0.75
    assert width(few) > 1.5 * width(many)


def test_differences_are_paired():
    """A method that is right wherever the other is, and on two clips more, is better beyond doubt."""
    figures = compared([result("centralised", 30), result("kd, vae", 32)], unseen(40))["clean"]
    better = figures["kd, vae"]["t5"]
    assert better.difference == pytest.approx(0.05)
    low, high = better.difference_interval
    assert low >= 0 and high - low < 0.7 * width(better)
    assert "+0.050" in table({"clean": figures}, 1)


def test_seeds_are_averaged():
    figures = compared([result("centralised", right, seed) for seed, right in enumerate((20, 30))], unseen(40))
    assert figures["clean"]["centralised"]["clip"].mean == pytest.approx(0.625)


def test_results_are_kept_between_runs(tmp_path):
    results = [result("kd, vae", 3), result("centralised", 5, 1)]
    write(tmp_path / "results.csv", results)
    assert read(tmp_path / "results.csv") == results
    assert read(tmp_path / "none.csv") == []


@pytest.mark.parametrize("level", [10, 0])
def test_a_clip_of_another_class_is_mixed_in_at_its_level(level):
    dog, drum = (Toy(1).clips(label)[0] for label in ("dog", "drum"))
    assert isinstance(dog, Clip)
    mixed = Mixed("dog", "both", 1, over=dog, under=drum, level=level)
    heard, alone = mixed.read(16_000, 2.0), dog.read(16_000, 2.0)
    gain = np.dot(heard, alone) / np.dot(alone, alone)
    under = heard / gain - alone
    assert 10 * np.log10(np.square(alone).mean() / np.square(under).mean()) == pytest.approx(level, abs=1.0)
    assert mixed.content() not in (dog.content(), drum.content())
