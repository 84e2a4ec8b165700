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
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

from vegas_fl.config import Config, FlowerConfig, parse
from vegas_fl.errors import VegasError

PRIVATE = "private"
"""Name of the connection to the SuperLink of a run of its own."""
START_TIMEOUT = 60.0
"""Seconds a SuperLink has to start."""


def run(config: Config) -> None:
    """Submit ``config``, follow its log, and wait for its end.

    Raises
    ------
    VegasError
        What stopped the run.
    """
    settings = config.engine
    assert isinstance(settings, FlowerConfig)
    project = project_folder()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vegas-fl-")))
        environment = flower_environment()
        arguments: list[str] = []
        connection = settings.connection
        if connection is None:
            connection, environment["FLWR_HOME"] = PRIVATE, str(folder)
            stack.enter_context(private_superlink(folder, environment))
            arguments = [
                "--federation-config",
                f"num-supernodes={len(config.nodes)} client-resources-num-cpus={settings.cpus_per_node} "
                f"init-args-num-cpus={max(os.cpu_count() or 1, settings.cpus_per_node)}",
            ]
        run_config = folder / "run.toml"
        # A JSON string is a TOML basic string.
        resolved = json.dumps(anchored(config).model_dump_json())
        run_config.write_text(f"resolved = {resolved}\n", encoding="utf8")
        submitted = flwr(
            [
                "run",
                str(project),
                connection,
                "--run-config",
                str(run_config),
                *arguments,
                "--format",
                "json",
            ],
            environment,
        )
        run_id = str(submitted["run-id"])
        with contextlib.suppress(KeyboardInterrupt):
            subprocess.run([tool("flwr"), "log", run_id, connection, "--stream"], env=environment, check=False)
        wait_for(run_id, connection, environment)


def anchored(config: Config) -> Config:
    """``config`` with every path absolute: Flower's processes run in folders of their own."""
    values = config.model_dump(mode="json")
    places = [
        (values, "images_output_dir"),
        (values["evaluation"], "reference"),
        (values["data"], "root"),
        (values["generator"], "checkpoint_dir"),
        (values["adapter"], "checkpoint_dir"),
        (values["adapter"], "local_checkpoint_dir"),
        *((values["paths"], key) for key in values["paths"]),
    ]
    places += [
        (section, "model") for section in (values["renderer"], values["encoder"]) if _is_folder(section["model"])
    ]
    for section, key in places:
        if section[key] is not None:
            section[key] = str(Path(section[key]).expanduser().absolute())
    return parse(values)


def _is_folder(model: str) -> bool:
    return model != "pack" and Path(model).expanduser().is_dir()


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
    port, control = _free_ports(2)
    (folder / "config.toml").write_text(
        f'[superlink]\ndefault = "{PRIVATE}"\n\n[superlink.{PRIVATE}]\naddress = "127.0.0.1:{port}"\ninsecure = true\n',
        encoding="utf8",
    )
    log = folder / "superlink.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [
                *(tool("flower-superlink"), "--insecure", "--simulation", "--isolation", "subprocess"),
                *(
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(port),
                    "--control-api-address",
                    f"127.0.0.1:{control}",
                ),
                *("--database", str(folder / "state.db"), "--disable-runtime-dependency-installation"),
            ],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not _healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise VegasError(f"The SuperLink did not start:\n{log.read_text('utf8', 'replace')[-2000:]}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_for(run_id: str, connection: str, environment: dict[str, str]) -> None:
    """Return when the run completed; the log's end alone does not tell."""
    while True:
        (row,) = flwr(["list", connection, "--run-id", run_id, "--format", "json"], environment)["runs"]
        if row["status"] == "finished:completed":
            return
        if row["status"].startswith("finished"):
            raise VegasError(row.get("status-details") or f"The run ended as {row['status']}.")
        time.sleep(0.5)


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


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
