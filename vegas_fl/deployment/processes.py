"""Starting and stopping what runs for longer than a command: by a file that says which process it is."""

from __future__ import annotations

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
"""Seconds a process has to end by itself."""
SAME = 2.0
"""Seconds that two readings of the time a process began may differ."""


@dataclass(frozen=True)
class Service:
    """A process of a deployment, and its files ``<name>.pid`` and ``<name>.log``."""

    folder: Path
    name: str

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        """Which process it is: PID and when that began, as PIDs are used again."""
        return self.folder / f"{self.name}.pid"

    def process(self) -> psutil.Process | None:
        """The running process; None if there is none, or its PID is another process's by now."""
        try:
            kept = json.loads(self.pid_file.read_text("utf8"))
            process = psutil.Process(kept["pid"])
            same = abs(process.create_time() - kept["created"]) < SAME
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, psutil.Error):
            return None

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        ready: Callable[[str], bool],
        seconds: float,
        address: tuple[str, int] | None = None,
    ) -> bool:
        """Start it in the background, in its folder; return whether it was ready in time.

        Parameters
        ----------
        command : sequence of str
        environment : mapping
        ready : callable
            What it has printed so far → whether it is ready.
        seconds : float
            Time to wait for that.
        address : (str, int), optional
            Host and port it will listen at.

        Raises
        ------
        VegasError
            It runs already, its port is taken, its folder cannot be written, or it has ended by itself: the last it
            printed is told.
        """
        if running := self.process():
            raise VegasError(f"{self.name} runs already (PID {running.pid}); stop it first")
        if address is not None and taken(address):
            raise VegasError(
                f"{self.name} cannot listen at port {address[1]}: it is taken by {told(listener(address[1]))}; "
                "end that, or set another port"
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
        try:
            kept = {"pid": child.pid, "created": psutil.Process(child.pid).create_time()}
            write_atomically(self.pid_file, json.dumps(kept).encode())
        except psutil.Error:  # it has ended
            pass
        except VegasError:  # nobody could stop it later
            child.terminate()
            child.wait()
            raise
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            printed = self.log.read_bytes()[before:].decode("utf8", "replace")
            if child.poll() is not None:
                self.pid_file.unlink(missing_ok=True)
                last = "\n".join(printed.strip().splitlines()[-15:])
                raise VegasError(f"{self.name} ended at once (exit code {child.returncode}); the last it said:\n{last}")
            if ready(printed):
                return True
            time.sleep(0.2)
        return False

    def stop(self) -> bool:
        """End it and what it has started; return whether it ran."""
        process = self.process()
        if process is not None:
            family = [process]
            with contextlib.suppress(psutil.Error):
                family += process.children(recursive=True)
            try:
                _end([process])
            except psutil.AccessDenied as error:
                whose = f"{process.username()}'s" if process.is_running() else "another user's"
                raise VegasError(f"{self.name} (PID {process.pid}) is {whose}; stop it as that user") from error
            _end(family)
        with contextlib.suppress(OSError):
            self.pid_file.unlink()
        return process is not None


def taken(address: tuple[str, int]) -> bool:
    """Whether something listens at a host and port of this machine."""
    with socket.socket() as one:
        one.settimeout(2)
        return one.connect_ex(address) == 0


def listener(port: int) -> psutil.Process | None:
    """The process that listens at a port; None if there is none, or the system does not say which."""
    with contextlib.suppress(psutil.Error):
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
                return psutil.Process(one.pid)
    return None


def told(process: psutil.Process | None) -> str:
    """A process in words."""
    with contextlib.suppress(psutil.Error):
        if process is not None:
            return f"{process.name()} (PID {process.pid})"
    return "something that was not started here"


def _end(processes: Sequence[psutil.Process]) -> None:
    """SIGTERM, and SIGKILL to what is left after a while."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=GRACE)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=GRACE)


def become(folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Go on as ``command``, in the foreground: for systemd and containers, which keep a process by themselves."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        os.execve(command[0], list(command), dict(environment))
    except OSError as error:
        raise VegasError(f"{Path(command[0]).name} cannot be started in {folder} ({error.strerror})") from error
