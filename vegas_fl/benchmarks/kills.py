"""Runs of a deployment in which a process is killed at a random moment: do they end with the same files?

A SuperLink and two SuperNodes with TLS and node keys on this machine; a run of all stages (two classes, two rounds,
eight pictures). In each run one process gets SIGKILL: the command that submitted the run, the SuperLink, its ServerApp,
a SuperNode, a node's ClientApp, or its worker. What ``vegas-fl deploy`` had started is started again, and the run's
command is repeated until it succeeds.
"""

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from vegas_fl.engines.flower import free_ports, tool

PROCESSES = {
    "SuperLink": "flower-superlink",
    "ServerApp": "flwr-serverapp",
    "SuperNode": "flower-supernode",
    "ClientApp": "flwr-clientapp",
    "worker": "vegas_fl.rendering.worker",
}
"""What may be killed beside the command, and the program that it runs."""
VICTIMS = ("command", *PROCESSES)
CLASSES = ("dog", "chainsaw")
RUN = [
    *("run=kills", "rounds=2", "engine=flower", "engine.connection=kills", "data.clips_per_class=15"),
    *("generator.epochs=20", "adapter.local_epochs=2", "aggregation.epochs=2", "federation.wait=180"),
    *(f"nodes.{i}={{selected_classes: [{label}], samples_per_node: 4}}" for i, label in enumerate(CLASSES)),
]
MOST_COMMANDS = 6
"""Number of times the command is repeated before a run counts as failed."""
LONGEST = 600.0
"""Time limit of a command in seconds."""


@dataclass(frozen=True)
class KilledRun:
    """What was killed when, how often the command was given, and whether the files are those of an undisturbed run."""

    victim: str
    moment: float
    commands: int
    seconds: float
    same: bool


@dataclass
class Deployment:
    """A server and its nodes, in subfolders of ``folder``."""

    folder: Path

    def vegas(self, *words: str) -> None:
        """Run ``vegas-fl deploy``."""
        done = subprocess.run(
            [tool("vegas-fl"), "deploy", *words], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"vegas-fl deploy {' '.join(words)}: {done.stderr}")

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that put Flower's settings into the folder."""
        return os.environ | {"FLWR_HOME": str(self.folder / "home"), "OMP_NUM_THREADS": "1"}

    def start(self, attempts: int = 1) -> None:
        """Start what is not running; the SuperLink lets a killed SuperNode in again after about a minute."""
        for words in (("superlink", "server.yaml"), *(("supernode", f"node_{i}.yaml") for i in range(len(CLASSES)))):
            for left in reversed(range(attempts)):
                try:
                    self.vegas(*words)
                    break
                except RuntimeError as error:
                    if "already runs" in str(error):
                        break
                    if not left:
                        raise
                    time.sleep(10)

    def processes(self, victim: str) -> list[psutil.Process]:
        """The running processes of one kind."""
        every = {p.pid: p for p in psutil.process_iter(["cmdline", "cwd", "ppid"])}

        def ours(process: psutil.Process | None) -> bool:
            if process is None or process.pid == 0:
                return False
            cwd = process.info["cwd"]
            return bool(cwd and Path(cwd).is_relative_to(self.folder)) or ours(every.get(process.info["ppid"]))

        found = [p for p in every.values() if PROCESSES[victim] in " ".join((p.info["cmdline"] or [])[:3]) and ours(p)]
        return sorted(found, key=lambda p: p.pid)


@contextlib.contextmanager
def deployment(folder: Path) -> Iterator[Deployment]:
    """A running deployment, stopped after the block."""
    made = Deployment(folder)
    port, *ports = free_ports(1 + len(CLASSES))
    settings = {"name": "kills", "host": "127.0.0.1", "bind": "127.0.0.1", "port": port, "folder": "server"}
    (folder / "server.yaml").write_text(yaml.safe_dump(settings))
    for node, own in enumerate(ports):
        settings = {
            **{"node": node, "superlink": f"127.0.0.1:{port}", "ca": "server/ca.crt", "port": own},
            **{"folder": f"node_{node}", "output_dir": f"node_{node}/output"},
        }
        (folder / f"node_{node}.yaml").write_text(yaml.safe_dump(settings))
        made.vegas("key", f"node_{node}.yaml")
    for words in (("ca",), ("certificate",), ("superlink",), ("connect",)):
        made.vegas(*words, "server.yaml")
    made.vegas("register", "server.yaml", *(f"node_{i}/node_{i}.pub" for i in range(len(CLASSES))))
    try:
        made.start()
        yield made
    finally:
        made.vegas("stop", *(f"node_{i}.yaml" for i in range(len(CLASSES))), "server.yaml")


def attempt(made: Deployment, folder: Path, victim: str = "", moment: float = 0.0) -> tuple[dict[str, str], int, float]:
    """A run whose ``victim`` is killed after ``moment`` seconds: hashes of its files, number of commands, seconds."""
    for node in range(len(CLASSES)):
        shutil.rmtree(made.folder / f"node_{node}" / "output", ignore_errors=True)
    folder.mkdir()
    start = time.monotonic()
    for given in range(1, MOST_COMMANDS + 1):
        with open(folder / "log", "ab") as log:
            command = subprocess.Popen(
                [tool("vegas-fl"), *RUN], cwd=folder, env=made.environment, stdout=log, stderr=subprocess.STDOUT
            )
        if victim and given == 1:
            _kill(made, command, victim, start + moment)
            made.start(attempts=12)
        try:
            if command.wait(LONGEST) == 0:
                return hashes(made, folder), given, time.monotonic() - start
        except subprocess.TimeoutExpired:
            command.kill()
    return {}, MOST_COMMANDS, time.monotonic() - start


def _kill(made: Deployment, command: subprocess.Popen[bytes], victim: str, when: float) -> None:
    """Kill a process of the kind at the given time, or as soon as one runs after it."""
    while command.poll() is None:
        there = [psutil.Process(command.pid)] if victim == "command" else made.processes(victim)
        if time.monotonic() >= when and there:
            with contextlib.suppress(psutil.Error):
                random.choice(there).kill()
                return
        time.sleep(0.1)


def hashes(made: Deployment, folder: Path) -> dict[str, str]:
    """Hashes of the checkpoints on the server and on the nodes, and of the pictures."""
    found = {}
    for root in (folder, made.folder):
        for path in sorted([*root.glob("**/*.safetensors"), *root.glob("**/*_*[0-9].png")]):
            name = path.relative_to(root)
            if not {"previous", "cache", "home"} & set(name.parts) and (root == folder or "output" in name.parts):
                found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def bench(folder: Path, count: int, seed: int = 0) -> Iterator[KilledRun]:
    """``count`` runs with a kill each, compared with an undisturbed one."""
    random.seed(seed)
    with deployment(folder) as made:
        wanted, _, seconds = attempt(made, folder / "undisturbed")
        if not wanted:
            raise RuntimeError(f"the undisturbed run failed: {(folder / 'undisturbed/log').read_text()[-2000:]}")
        print(f"undisturbed: {len(wanted)} files in {seconds:.0f} s", flush=True)
        for number in range(count):
            victim, moment = VICTIMS[number % len(VICTIMS)], random.uniform(0.0, seconds)
            found, commands, took = attempt(made, folder / f"attempt_{number}", victim, moment)
            yield KilledRun(victim, moment, commands, took, found == wanted)
