"""The log of a run that nobody reads any more ends the run."""

from __future__ import annotations

import logging
import os

import pytest

from vegas_fl.core.logs import Handler


def test_a_closed_pipe_is_an_error_and_not_a_printed_trace(capsys: pytest.CaptureFixture[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    logger = logging.getLogger("a log that nobody reads")
    logger.propagate = False
    stream = os.fdopen(write, "w", buffering=1)
    logger.addHandler(Handler(stream))
    with pytest.raises(BrokenPipeError):
        logger.warning("seen by nobody")
    assert not capsys.readouterr().err
    logger.handlers.clear()
    with pytest.raises(BrokenPipeError):
        stream.close()
