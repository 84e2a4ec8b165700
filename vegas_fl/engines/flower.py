"""``engine=flower``: ``flwr run`` on a SuperLink, followed to its end; a failed run raises."""

import contextlib
import json
import math
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO
from urllib.request import urlopen

from vegas_fl.config import Config, FlowerConfig, anchored
from vegas_fl.core.devices import gpus
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically

PRIVATE = "private"
"""Name of the connection to a SuperLink that is started for one run."""
START_TIMEOUT = 60.0
"""Seconds that a SuperLink has to start."""
ROOM = 0.95
"""Share of a GPU's memory that the nodes of a simulation take together."""
COMPLETED, ENDED = "finished:completed", "finished"
"""State of a completed run, and the beginning of the state of any run that ended."""


def run(config: Config, node_bytes: Callable[[Config], float]) -> None:
    """Submit ``config``, follow its log, and wait for its end.

    ``node_bytes`` estimates the GPU memory that a node takes.

    With ``engine.connection`` the run continues when this process is killed; the same command then follows it.

    Raises
    ------
    VegasError
        The run stopped; the message has the reason.
    """
    settings = config.engine
    assert isinstance(settings, FlowerConfig)
    resolved = anchored(config).model_dump_json()
    simulation = _simulation(config, node_bytes) if settings.connection is None else []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vegas-fl-")))
        environment = flower_environment()
        if settings.connection is None:
            environment["FLWR_HOME"] = str(folder)
            stack.enter_context(private_superlink(folder, environment))
            run_id = submit(resolved, PRIVATE, environment, folder, simulation)
        else:
            before = _submitted_before(config, resolved, environment)
            run_id = before or submit(resolved, settings.connection, environment, folder)
            note = {"connection": settings.connection, "run-id": run_id, "config": resolved}
            write_atomically(_note(config), json.dumps(note).encode())
        connection = settings.connection or PRIVATE
        with contextlib.suppress(KeyboardInterrupt):
            _guarded(["flwr", "log", run_id, connection, "--stream"], environment).wait()
        wait_for(run_id, connection, environment, config.federation.wait)
        _note(config).unlink(missing_ok=True)


def submit(resolved: str, connection: str, environment: dict[str, str], folder: Path, more: Sequence[str] = ()) -> str:
    """Submit the project and the resolved configuration to a SuperLink; return the run's id."""
    run_config = folder / "run.toml"
    run_config.write_text(f"resolved = {quoted(resolved)}\n", encoding="utf8")
    arguments = ["run", str(project_folder()), connection, "--run-config", str(run_config), *more, "--format", "json"]
    return str(flwr(arguments, environment)["run-id"])


def quoted(value: str | int) -> str:
    """A value in TOML: as in JSON, but characters beyond U+FFFF are not escaped, as TOML refuses JSON's surrogates."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _simulation(config: Config, node_bytes: Callable[[Config], float]) -> list[str]:
    """Options for the size of a simulation."""
    assert isinstance(config.engine, FlowerConfig)
    cpus, memory = config.engine.cpus_per_node, [] if config.device == "cpu" else gpus()
    here, share = len(memory), config.engine.gpus_per_node
    if share is None:
        share = 0.0
        if memory:
            fit = int(ROOM * min(memory) / node_bytes(config))
            at_once = max(1, min(fit, -(-len(config.nodes) // here)))
            share = math.floor(1e4 / at_once) / 1e4  # Ray counts in ten-thousandths
    if share and config.device.startswith("cuda:"):
        raise VegasError(
            f"device={config.device} names one GPU, but Flower's simulation spreads the nodes over all; use "
            "device=cuda (and CUDA_VISIBLE_DEVICES to choose), or engine=inprocess"
        )
    if share > here:
        raise VegasError(
            f"engine.gpus_per_node={share:g}, but this machine has {here} GPUs that torch can use with "
            f"device={config.device}; choose at most {here}, or null"
        )
    sizes = {
        "num-supernodes": len(config.nodes),
        "client-resources-num-cpus": cpus,
        "client-resources-num-gpus": share,  # without it, Ray hides the GPUs from the nodes
        "init-args-num-cpus": max(os.cpu_count() or 1, cpus),
        "init-args-num-gpus": here,
    }
    return ["--federation-config", " ".join(f"{key}={value}" for key, value in sizes.items())]


def _note(config: Config) -> Path:
    """File that records a run submitted to ``engine.connection``, until a command has seen its end."""
    return Path(config.paths.runs) / config.run / "flower.json"


def _submitted_before(config: Config, resolved: str, environment: dict[str, str]) -> str | None:
    """The run's id if an earlier command submitted it, and it still runs or completed without a command to see it.

    Raises
    ------
    VegasError
        It still runs, with other settings.
    """
    assert isinstance(config.engine, FlowerConfig)
    try:
        note = json.loads(_note(config).read_text("utf8"))
        run_id, connection = str(note["run-id"]), note["connection"]
        state = status(run_id, connection, environment)[0] if connection == config.engine.connection else ENDED
    except (OSError, ValueError, KeyError, TypeError, VegasError):
        return None
    if note["config"] == resolved and (state == COMPLETED or not state.startswith(ENDED)):
        print(f"run {config.run} was already submitted to {connection}: following it", flush=True)
        return run_id
    if state.startswith(ENDED):
        return None
    raise VegasError(
        f"run {config.run} still runs at {connection}, with other settings; stop it (flwr stop {run_id} "
        f"{connection}), or give this one another name (run=…)"
    )


def project_folder() -> Path:
    """The folder with pyproject.toml, which ``flwr run`` packs.

    Raises
    ------
    VegasError
        It is not found.
    """
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        with contextlib.suppress(OSError, KeyError, tomllib.TOMLDecodeError):
            if tomllib.loads((folder / "pyproject.toml").read_text("utf8"))["project"]["name"] == "vegas-fl":
                return folder
    raise VegasError(
        "engine=flower packs the project from its source folder, which was not found; start the run in a checkout of "
        "vegas-fl, or use engine=inprocess"
    )


def flower_environment() -> dict[str, str]:
    """Environment variables for Flower without telemetry, update checks and runtime installs. Ray, which runs the nodes
    of a simulation, listens on the loopback interface and answers only whoever has its token."""
    return os.environ | {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_DEDUP_LOGS": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on any system: one machine's nodes, at 127.0.0.1
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Nodes share the cores, so waiting threads must not spin.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


@contextlib.contextmanager
def private_superlink(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A SuperLink that simulates nodes on free ports, for the duration of the block."""
    port, control = free_ports(2)
    (folder / "config.toml").write_text(
        f'[superlink]\ndefault = "{PRIVATE}"\n\n[superlink.{PRIVATE}]\naddress = "127.0.0.1:{port}"\ninsecure = true\n',
        encoding="utf8",
    )
    log = folder / "superlink.log"
    command = [
        *("flower-superlink", "--insecure", "--simulation", "--isolation", "subprocess"),
        *("--host", "127.0.0.1", "--port", str(port), "--control-api-address", f"127.0.0.1:{control}"),
        *("--database", str(folder / "state.db"), "--disable-runtime-dependency-installation"),
    ]
    with open(log, "wb") as output:
        guard = _guarded(command, environment, output)
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


def _guarded(
    command: Sequence[str], environment: dict[str, str], output: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start one of Flower's commands so that it ends with this process, or when its input is closed."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("guard.py")), tool(command[0]), *command[1:]],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
    )


def _healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_for(run_id: str, connection: str, environment: dict[str, str], patience: float = 0.0) -> None:
    """Return when the run completed; the end of its log does not show that.

    Raises
    ------
    VegasError
        It did not complete, or its SuperLink did not answer for ``patience`` seconds.
    """
    answered = time.monotonic()
    while True:
        try:
            state, details = status(run_id, connection, environment)
            answered = time.monotonic()
        except VegasError as error:
            if time.monotonic() - answered > patience:
                raise VegasError(
                    f"{error}\nThe SuperLink of run {run_id} ({connection}) does not answer. When it does again, "
                    "run the same command to continue."
                ) from error
            state, details = "", ""
        if state == COMPLETED:
            return
        if state.startswith(ENDED):
            raise VegasError(details or f"The run ended as {state}; run the same command to continue.")
        time.sleep(0.5)


def status(run_id: str, connection: str, environment: dict[str, str]) -> tuple[str, str]:
    """Status of a run, and its details."""
    (row,) = flwr(["list", connection, "--run-id", run_id, "--format", "json"], environment)["runs"]
    return row["status"], row.get("status-details") or ""


def flwr(arguments: list[str], environment: dict[str, str]) -> dict:
    """The output of a flwr command with ``--format json``.

    Raises
    ------
    VegasError
        The command failed.
    """
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
    """Path of a command that is installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
