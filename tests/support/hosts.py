"""Machines of a deployment: network namespaces joined by a switch where this machine lets us, else loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

SERVER = "server"
VEGAS = str(Path(sys.executable).with_name("vegas-fl"))


@dataclass(frozen=True)
class Hosts:
    """A server and nodes.

    Attributes
    ----------
    addresses : dict
        Name → IP address.
    prefix : str or None
        Namespaces are called ``<prefix><name>``; None: all are this machine.
    """

    addresses: dict[str, str]
    prefix: str | None

    def start(
        self,
        host: str,
        *command: str,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        output: IO[str] | int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start a command on a host."""
        inside = ["ip", "netns", "exec", f"{self.prefix}{host}"] if self.prefix else []
        return subprocess.Popen(
            [*inside, *command],
            cwd=folder,
            env=os.environ | {"FLWR_HOME": str(folder / "home")} | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(
        self, host: str, *command: str, folder: Path, code: int | None = 0, environment: Mapping[str, str] | None = None
    ) -> str:
        """Run a command on a host; what it printed."""
        process = self.start(host, *command, folder=folder, environment=environment)
        printed, _ = process.communicate(timeout=300)
        assert code is None or process.returncode == code, printed
        assert "Traceback" not in printed, printed
        return printed

    def cut(self, host: str) -> None:
        """Take a host off the switch."""
        self._link(host, "down")

    def mend(self, host: str) -> None:
        """Put it back."""
        self._link(host, "up")

    def _link(self, host: str, state: str) -> None:
        subprocess.run(["ip", "-n", f"{self.prefix}{SERVER}", "link", "set", f"to{host}", state], check=True)

    def left(self, seconds: float = 5.0) -> list[int]:
        """Processes that run in the namespaces, even after some seconds."""
        end = time.monotonic() + seconds
        while (found := self._running()) and time.monotonic() < end:
            time.sleep(0.2)
        return found

    def _running(self) -> list[int]:
        if self.prefix is None:
            return []
        listed = [
            subprocess.run(["ip", "netns", "pids", f"{self.prefix}{host}"], capture_output=True, text=True, check=True)
            for host in self.addresses
        ]
        return [int(pid) for one in listed for pid in one.stdout.split()]


@contextmanager
def hosts(*nodes: str) -> Iterator[Hosts]:
    """A server and ``nodes``, gone after the block."""
    prefix = f"vf{os.getpid()}"
    made: list[str] = []

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        try:
            addresses = {SERVER: "10.77.0.1"}
            ip("netns", "add", prefix + SERVER)
            made.append(prefix + SERVER)
            inside = ("-n", prefix + SERVER)
            ip(*inside, "link", "add", "switch", "type", "bridge")
            ip(*inside, "address", "add", "10.77.0.1/24", "dev", "switch")
            for link in ("lo", "switch"):
                ip(*inside, "link", "set", link, "up")
            for number, node in enumerate(nodes):
                addresses[node] = f"10.77.0.{10 + number}"
                ip("netns", "add", prefix + node)
                made.append(prefix + node)
                there = ("-n", prefix + node)
                ip(*inside, "link", "add", f"to{node}", "type", "veth", "peer", "name", "net", "netns", prefix + node)
                ip(*inside, "link", "set", f"to{node}", "master", "switch", "up")
                ip(*there, "address", "add", f"{addresses[node]}/24", "dev", "net")
                for link in ("lo", "net"):
                    ip(*there, "link", "set", link, "up")
        except (OSError, subprocess.CalledProcessError):  # no iproute2, or not allowed
            yield Hosts(dict.fromkeys((SERVER, *nodes), "127.0.0.1"), None)
        else:
            yield Hosts(addresses, prefix)
    finally:
        for name in reversed(made):
            ip("netns", "delete", name)


def change(file: Path, **values: object) -> None:
    """Set keys of a machine's settings."""
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | values))


def unused_port() -> int:
    """A port nothing listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
