"""``engine=flower``: ``flwr run`` on a SuperLink, followed to its end, with an exit that tells the truth."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.request import urlopen

from vegas_fl.config import Config, FlowerConfig
from vegas_fl.config.places import anchored
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically

PRIVATE = "private"
"""Name of the connection to the SuperLink of a run of its own."""
START_TIMEOUT = 60.0
"""Seconds a SuperLink has to start."""
COMPLETED, ENDED = "finished:completed", "finished"
"""What the state of a run that completed is, and what that of any run that is over begins with."""


def run(config: Config) -> None:
    """Submit ``config``, follow its log, and wait for its end.

    On a SuperLink of one's own choice the run goes on when this process is killed; the same command then follows it.

    Raises
    ------
    VegasError
        What stopped the run.
    """
    settings = config.engine
    assert isinstance(settings, FlowerConfig)
    resolved = anchored(config).model_dump_json()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vegas-fl-")))
        environment = flower_environment()
        if settings.connection is None:
            environment["FLWR_HOME"] = str(folder)
            stack.enter_context(private_superlink(folder, environment))
            run_id = submit(resolved, PRIVATE, environment, folder, _simulation(config))
        else:
            before = _submitted_before(config, resolved, environment)
            run_id = before or submit(resolved, settings.connection, environment, folder)
            note = {"connection": settings.connection, "run-id": run_id, "config": resolved}
            write_atomically(_note(config), json.dumps(note).encode())
        connection = settings.connection or PRIVATE
        with contextlib.suppress(KeyboardInterrupt):
            subprocess.run([tool("flwr"), "log", run_id, connection, "--stream"], env=environment, check=False)
        wait_for(run_id, connection, environment, config.federation.wait)
        _note(config).unlink(missing_ok=True)


def submit(resolved: str, connection: str, environment: dict[str, str], folder: Path, more: Sequence[str] = ()) -> str:
    """Hand the project and the resolved configuration to a SuperLink; the run's id."""
    run_config = folder / "run.toml"
    run_config.write_text(f"resolved = {quoted(resolved)}\n", encoding="utf8")
    arguments = ["run", str(project_folder()), connection, "--run-config", str(run_config), *more, "--format", "json"]
    return str(flwr(arguments, environment)["run-id"])


def quoted(value: str | int) -> str:
    """A value in TOML: JSON's, but letters beyond U+FFFF, of which JSON makes two halves that TOML refuses, stay."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _simulation(config: Config) -> list[str]:
    """The sizes of a simulation."""
    assert isinstance(config.engine, FlowerConfig)
    cpus = config.engine.cpus_per_node
    return [
        "--federation-config",
        f"num-supernodes={len(config.nodes)} client-resources-num-cpus={cpus} "
        f"init-args-num-cpus={max(os.cpu_count() or 1, cpus)}",
    ]


def _note(config: Config) -> Path:
    """Kept while a run is at a SuperLink of one's own choice, until a command has seen its end."""
    return Path(config.paths.runs) / config.run / "flower.json"


def _submitted_before(config: Config, resolved: str, environment: dict[str, str]) -> str | None:
    """The id under which an earlier command submitted this run, if that goes on, or came to a good end that no
    command has seen.

    Raises
    ------
    VegasError
        It goes on with other settings.
    """
    assert isinstance(config.engine, FlowerConfig)
    try:
        note = json.loads(_note(config).read_text("utf8"))
        run_id, connection = str(note["run-id"]), note["connection"]
        state = status(run_id, connection, environment)[0] if connection == config.engine.connection else ENDED
    except (OSError, ValueError, KeyError, TypeError, VegasError):
        return None
    if note["config"] == resolved and (state == COMPLETED or not state.startswith(ENDED)):
        print(f"run {config.run} was submitted to {connection} before: following it", flush=True)
        return run_id
    if state.startswith(ENDED):
        return None
    raise VegasError(
        f"run {config.run} is still going on at {connection}, with other settings; stop it (flwr stop {run_id} "
        f"{connection}), or give this one another name (run=…)"
    )


def project_folder() -> Path:
    """The folder with pyproject.toml, which `flwr run` packs."""
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        with contextlib.suppress(OSError, KeyError, tomllib.TOMLDecodeError):
            if tomllib.loads((folder / "pyproject.toml").read_text("utf8"))["project"]["name"] == "vegas-fl":
                return folder
    raise VegasError(
        "engine=flower packs the project from its source folder, and none was found here; start it from a checkout "
        "of vegas-fl, or use engine=inprocess"
    )


def flower_environment() -> dict[str, str]:
    """Flower without telemetry, update checks, and installs of its own."""
    return os.environ | {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_DEDUP_LOGS": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Nodes share the cores: threads that wait must not spin.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


@contextlib.contextmanager
def private_superlink(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A SuperLink that simulates nodes, on free ports, for the length of the block."""
    port, control = free_ports(2)
    (folder / "config.toml").write_text(
        f'[superlink]\ndefault = "{PRIVATE}"\n\n[superlink.{PRIVATE}]\naddress = "127.0.0.1:{port}"\ninsecure = true\n',
        encoding="utf8",
    )
    log = folder / "superlink.log"
    command = [
        *(tool("flower-superlink"), "--insecure", "--simulation", "--isolation", "subprocess"),
        *("--host", "127.0.0.1", "--port", str(port), "--control-api-address", f"127.0.0.1:{control}"),
        *("--database", str(folder / "state.db"), "--disable-runtime-dependency-installation"),
    ]
    with open(log, "wb") as output:
        guard = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("guard.py")), *command],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    assert guard.stdin is not None
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not _healthy(port):
            if guard.poll() is not None or time.monotonic() > deadline:
                raise VegasError(f"The SuperLink did not start:\n{log.read_text('utf8', 'replace')[-2000:]}")
            time.sleep(0.2)
        yield
    finally:
        guard.stdin.close()
        guard.wait()


def _healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_for(run_id: str, connection: str, environment: dict[str, str], patience: float = 0.0) -> None:
    """Return when the run completed; the log's end alone does not tell.

    Raises
    ------
    VegasError
        It ended otherwise, or its SuperLink did not answer for ``patience`` seconds.
    """
    heard = time.monotonic()
    while True:
        try:
            state, details = status(run_id, connection, environment)
            heard = time.monotonic()
        except VegasError as error:
            if time.monotonic() - heard > patience:
                raise VegasError(
                    f"{error}\nThe SuperLink of run {run_id} ({connection}) does not answer. When it does again, "
                    "start the same command: it goes on from what is done."
                ) from error
            state, details = "", ""
        if state == COMPLETED:
            return
        if state.startswith(ENDED):
            raise VegasError(details or f"The run ended as {state}; the same command goes on from what is done.")
        time.sleep(0.5)


def status(run_id: str, connection: str, environment: dict[str, str]) -> tuple[str, str]:
    """Status of a run, and its details."""
    (row,) = flwr(["list", connection, "--run-id", run_id, "--format", "json"], environment)["runs"]
    return row["status"], row.get("status-details") or ""


def flwr(arguments: list[str], environment: dict[str, str]) -> dict:
    """Output of a flwr command with ``--format json``."""
    done = subprocess.run([tool("flwr"), *arguments], env=environment, capture_output=True, text=True, check=False)
    try:
        answer: dict = json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError:
        answer = {}
    if done.returncode or not answer.get("success"):
        detail = answer.get("error-message") or done.stderr.strip() or done.stdout.strip()
        raise VegasError(f"flwr {arguments[0]} failed: {detail}")
    return answer


def tool(name: str) -> str:
    """A command installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
