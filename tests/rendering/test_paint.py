"""The output of `vegas-fl paint`."""

from __future__ import annotations

from pathlib import Path

from vegas_fl.rendering.paint import DISTANCES, Painted, describe


def told(nearest: list[tuple[str, float]], trained: list[str]) -> str:
    return describe(Painted(Path("bark.wav"), Path("painted/bark.png"), nearest, trained))


def test_distances_are_called_distances() -> None:
    line = told([("dog", 0.08), ("rain", 1.03)], ["dog", "rain"])
    assert line == "bark.wav -> painted/bark.png; nearest: a dog at distance 0.08, rain at distance 1.03"
    assert "distance 0:" in DISTANCES


def test_a_recording_that_fits_no_class_gets_a_hint() -> None:
    hint = "no class of these adapters fits this recording, which were trained for a chainsaw, rain"
    assert hint in told([("rain", 0.48), ("chainsaw", 0.6)], ["chainsaw", "rain"])
    assert hint in told([("dog", 0.1), ("rain", 0.9)], ["chainsaw", "rain"])  # nearest to what they never learned
