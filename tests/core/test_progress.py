"""How progress is shown: one bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import logging
import re
import sys
import time

import pytest

from vegas_fl.core import progress
from vegas_fl.core.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_bar_for_all_nodes_and_whole_log_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(Progress, "_open", {})
    logger = logging.getLogger("vegas_fl")
    handler = logging.StreamHandler(terminal)
    logger.addHandler(handler)
    try:
        for request in (0, 2):  # two nodes in turns, as with images.report_seconds
            for node in ("node 0", "node 1"):
                with Progress("pictures", node, 4, "picture", request) as shown:
                    shown.add(1)
                    logger.warning("said by %s", node)
                    shown.add(1)
    finally:
        logger.removeHandler(handler)
    text = terminal.getvalue()
    assert set(re.findall(r"(\d+)/8", text)) >= {"4", "8"}
    assert "node 0:" not in text and text.count("said by") == 4
    lines = [line.split("\r")[-1] for line in text.split("\n")]
    assert [line for line in lines if "said" in line] == ["said by node 0", "said by node 1"] * 2
    assert not text.split("\r")[-1].strip()  # nothing is left of the bar


def test_elsewhere_a_line_is_logged_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.2)
    with caplog.at_level(logging.INFO, "vegas_fl"):
        for node in range(8):  # none of them takes as long as two lines are apart
            with Progress("generators", f"node {node}", 2, "class") as shown:
                shown.add(1)
                time.sleep(0.1)
        assert 2 <= len(caplog.messages) <= 4
        assert re.fullmatch(r"generators, node \d: 1 of 2 classes, 0 s", caplog.messages[0])
        caplog.clear()
        with Progress("generators", "node 0", 2, "class", show=False):
            time.sleep(0.3)
    assert caplog.messages == [] and capsys.readouterr().err == ""
