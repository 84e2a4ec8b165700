"""Running the real command line in this process, where models stay loaded."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from vegas_fl.cli import main as cli


class Done(NamedTuple):
    """What a command printed, and how it ended."""

    code: int
    stdout: str
    stderr: str


def vegas(folder: Path, *arguments: str, code: int = 0) -> Done:
    """``vegas-fl ARGUMENTS`` in ``folder``; it must end with ``code`` and without a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["vegas-fl", *arguments]),
    ):
        try:
            cli.main()
            ended = 0
        except SystemExit as end:
            ended = int(end.code or 0)
    done = Done(ended, out.getvalue(), err.getvalue())
    assert done.code == code, done
    assert "Traceback" not in done.stdout + done.stderr, done
    return done
