"""``python guard.py COMMAND…``: run a command, and end it and its children when the standard input is closed.

The input is a pipe from the process that started this one. However that process ends, SIGKILL included, the pipe is
closed and no process is left behind; likewise when the command itself is killed.
"""

import contextlib
import select
import signal
import subprocess
import sys

import psutil

PATIENCE = 3.0
"""Seconds that the processes have to end by themselves."""
LOOK = 1.0
"""Seconds between two searches for processes that the command started."""


def main() -> int:
    """Run the command and return its exit code."""
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: command.terminate())
    family: set[psutil.Process] = set()
    while command.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            family |= {*psutil.Process(command.pid).children(recursive=True)}
        if select.select([sys.stdin], [], [], LOOK)[0]:
            break
    family |= {psutil.Process(command.pid)} if command.poll() is None else set()
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(list(family), PATIENCE)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return command.wait()


if __name__ == "__main__":
    sys.exit(main())
