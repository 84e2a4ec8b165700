"""The log: what ends it, and what it shows of texts from elsewhere."""

from __future__ import annotations

import io
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


def test_no_text_looks_like_a_message_of_its_own() -> None:
    stream = io.StringIO()
    record = logging.makeLogRecord({"msg": "dropped node 1: %s", "args": ("\x1b[2Jx\n12:00:00 INFO all is well",)})
    Handler(stream).emit(record)
    assert stream.getvalue() == "dropped node 1: \\x1b[2Jx\n  12:00:00 INFO all is well\n"
