"""Start and stop processes that outlive the command: a file records which process it is."""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically

GRACE = 20.0
"""Seconds that a process has to end by itself."""
SAME = 2.0
"""Seconds by which two readings of a process's start time may differ."""


@dataclass(frozen=True)
class Service:
    """A process of a deployment, and its files ``<name>.pid`` and ``<name>.log``."""

    folder: Path  # of the files, and the process's working directory
    name: str
    address: tuple[str, int] | None = None  # host and port on which it listens

    @property
    def log(self) -> Path:
        """File that receives its output."""
        return self.folder / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        """File with its PID and start time, as PIDs are reused."""
        return self.folder / f"{self.name}.pid"

    def process(self) -> psutil.Process | None:
        """The running process; None if it does not run, or its PID now belongs to another process."""
        try:
            kept = json.loads(self.pid_file.read_text("utf8"))
            process = psutil.Process(kept["pid"])
            same = abs(process.create_time() - kept["created"]) < SAME
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, psutil.Error):
            return None

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], ready: Callable[[str], bool], seconds: float
    ) -> bool:
        """Start it in the background; return whether it was ``ready``, judged by its output so far, in time.

        Raises
        ------
        VegasError
            It already runs, its port is taken, its folder cannot be written, or it ended by itself: the message has the
            last lines of its output.
        """
        if running := self.process():
            raise VegasError(f"{self.name} already runs (PID {running.pid}); stop it first")
        if self.address is not None and taken(self.address):
            port = self.address[1]
            raise VegasError(
                f"{self.name} cannot listen on port {port}: it is taken by {described(listener(port))}; end that "
                "process, or set another port"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            before = self.log.stat().st_size if self.log.exists() else 0
            with open(self.log, "ab") as output:
                child = subprocess.Popen(
                    command,
                    cwd=self.folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise VegasError(f"{self.name} cannot be started ({error})") from error
        self._record(child)
        return self._wait(child, before, ready, seconds)

    def _record(self, child: subprocess.Popen[bytes]) -> None:
        """Write the PID file; without it the process could not be stopped later, so it is ended."""
        try:
            kept = {"pid": child.pid, "created": psutil.Process(child.pid).create_time()}
            write_atomically(self.pid_file, json.dumps(kept).encode())
        except psutil.Error:  # it has ended
            pass
        except VegasError:
            child.terminate()
            child.wait()
            raise

    def _wait(self, child: subprocess.Popen[bytes], before: int, ready: Callable[[str], bool], seconds: float) -> bool:
        """Whether it was ready in time, from its log after ``before`` bytes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            printed = self.log.read_bytes()[before:].decode("utf8", "replace")
            if child.poll() is not None:
                self.pid_file.unlink(missing_ok=True)
                last = "\n".join(printed.strip().splitlines()[-15:])
                raise VegasError(
                    f"{self.name} ended immediately (exit code {child.returncode}); its last output:\n{last}"
                )
            if ready(printed):
                return True
            time.sleep(0.2)
        return False

    def stop(self) -> bool:
        """End it and the processes that it started; return whether it ran."""
        process = self.process()
        if process is not None:
            family = [process]
            with contextlib.suppress(psutil.Error):
                family += process.children(recursive=True)
            try:
                _end([process])
            except psutil.AccessDenied as error:
                owner = process.username() if process.is_running() else "another user"
                raise VegasError(f"{self.name} (PID {process.pid}) belongs to {owner}; stop it as that user") from error
            _end(family)
        with contextlib.suppress(OSError):
            self.pid_file.unlink()
        return process is not None


def taken(address: tuple[str, int]) -> bool:
    """Whether a process listens on a host and port of this machine."""
    with socket.socket() as one:
        one.settimeout(2)
        return one.connect_ex(address) == 0


def listener(port: int) -> psutil.Process | None:
    """The process that listens on a port; None if it does not exist, or the system does not report it."""
    with contextlib.suppress(psutil.Error):
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
                return psutil.Process(one.pid)
    return None


def described(process: psutil.Process | None) -> str:
    """A process in words."""
    with contextlib.suppress(psutil.Error):
        if process is not None:
            return f"{process.name()} (PID {process.pid})"
    return "a process that was not started here"


def _end(processes: Sequence[psutil.Process]) -> None:
    """SIGTERM, and SIGKILL after a while for those still running."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=GRACE)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=GRACE)


def become(folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Replace this process by ``command``: for systemd and containers, which keep track of processes themselves."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        os.execve(command[0], list(command), dict(environment))
    except OSError as error:
        raise VegasError(f"{Path(command[0]).name} cannot be started in {folder} ({error.strerror})") from error
