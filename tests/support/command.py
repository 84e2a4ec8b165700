"""Running the real command line, in this process (models stay loaded) or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
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
    return _checked(Done(ended, out.getvalue(), err.getvalue()), code)


def run_script(folder: Path, script: str, *arguments: str, code: int = 0) -> Done:
    """A Python script in a process of its own, with ``arguments`` on its command line."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=os.environ)
    return _checked(Done(done.returncode, done.stdout, done.stderr), code)


def _checked(done: Done, code: int) -> Done:
    assert done.code == code, done
    assert "Traceback" not in done.stdout + done.stderr, done
    return done
