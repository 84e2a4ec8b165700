"""Lines of the server's log while nodes draw."""

from __future__ import annotations

import itertools
import logging
import re

import pytest

from strategies.stages import picture_progress
from strategies.stages.picture_progress import PictureProgress
from vegas_fl.federation.messages import Pictures


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[float]:
    """The time, to be set; lines are kept."""
    now = [100.0]
    monkeypatch.setattr(picture_progress.time, "monotonic", lambda: now[0])
    caplog.set_level(logging.INFO)
    return now


def answer(there: int, new: int, seconds: float) -> Pictures:
    return Pictures(pictures=400, missing=400 - there, rendered=new, seconds=seconds, folder="node_0")


def test_lines_are_never_ten_seconds_apart(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    nodes, times = PictureProgress(["0", "1"]), [100.0]
    for _ in range(60):
        clock[0] += 1.9  # looks for answers are two seconds apart at most
        lines = len(caplog.messages)
        nodes.idle()
        if round(clock[0]) == 138:
            nodes.answer("0", answer(40, 40, 2.0))
        if len(caplog.messages) > lines:
            times.append(clock[0])
    assert max(b - a for a, b in itertools.pairwise(times)) < 10
    assert re.search(r"last reports: node 0 was asked \(10 s ago\), node 1 was asked", caplog.messages[0])
    assert "last reports: node 0 had 40 of 400 (" in caplog.messages[-1]


def test_the_rate_is_of_drawing_first_and_of_everything_later(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    nodes = PictureProgress(["0"])
    clock[0] = 130.0  # FLUX was loaded, then 2 s were drawn
    nodes.answer("0", answer(40, 40, 2.0))
    assert "40 of 400 pictures, 20 a second, about 18 s left" in caplog.messages[-1]
    clock[0] = 150.0  # loaded again, 10 s were drawn
    nodes.answer("0", answer(240, 200, 10.0))
    assert "240 of 400 pictures, 10 a second, about 16 s left" in caplog.messages[-1]
    clock[0] = 190.0
    nodes.answer("0", answer(400, 160, 8.0))
    nodes.idle()
    assert len(caplog.messages) == 2
    assert nodes.rendered == {"0": 400}


def test_a_node_that_draws_for_ever_is_told_from_a_slow_one() -> None:
    progress = PictureProgress(["0"])
    for there in (0, 1, 2):
        assert progress.stalled("0", answer(there, 1, 1.0)) is None
        progress.answer("0", answer(there, 1, 1.0))
    assert "398 pictures were missing when it answered last, 398 are now" in (
        progress.stalled("0", answer(2, 1, 1.0)) or ""
    )
