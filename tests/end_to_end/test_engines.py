"""The same seed gives the same weights and pictures in process, with `flwr run`, and plainly submitted."""

from __future__ import annotations

import contextlib
import ipaddress
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.support.command import vegas
from vegas_fl.engines import flower

pytestmark = pytest.mark.slow

SMALL = [
    "data.clips_per_class=20",
    "generator.epochs=10",
    "rounds=2",
    "nodes.0.samples_per_node=4",
    "nodes.1.samples_per_node=3",
]


@pytest.fixture(scope="module")
def inprocess(tmp_path_factory: pytest.TempPathFactory, embedding_cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("inprocess")
    vegas(folder, *SMALL, f"paths.cache={embedding_cache}")
    return folder


def superlinks() -> set[int]:
    listing = subprocess.run(["pgrep", "-f", "flower-superlink"], capture_output=True, text=True, check=False)
    return {int(pid) for pid in listing.stdout.split()}


@pytest.fixture
def no_superlink_left() -> Iterator[None]:
    before = superlinks()
    yield
    assert superlinks() <= before


def assert_same(one: Path, other: Path) -> None:
    """Same checkpoints to 1e-5, same pictures to 2 of 255."""
    weights = sorted(p.relative_to(one) for p in one.glob("checkpoints/**/*.safetensors"))
    assert len(weights) == 4 + 2 * 2 * 3, weights
    for path in weights:
        expected, found = load_file(one / path), load_file(other / path)
        assert expected.keys() == found.keys()
        for key in expected:
            torch.testing.assert_close(found[key], expected[key], rtol=0, atol=1e-5, msg=f"{path} {key}")
    pictures = sorted(p.relative_to(one) for p in one.glob("output_images/demo/node_*/*.png"))
    assert len(pictures) == 7
    for path in pictures:
        with Image.open(one / path) as a, Image.open(other / path) as b:
            difference = np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max()
        assert difference <= 2, path


def test_engine_flower_gives_the_same(
    inprocess: Path, tmp_path: Path, embedding_cache: Path, no_superlink_left: None
) -> None:
    vegas(tmp_path, *SMALL, "engine=flower", f"paths.cache={embedding_cache}")
    assert_same(inprocess, tmp_path)
    assert (tmp_path / "runs/demo/report.html").is_file()


def test_plain_flwr_run_gives_the_same(
    inprocess: Path, tmp_path: Path, embedding_cache: Path, no_superlink_left: None
) -> None:
    folders = {
        "paths.cache": embedding_cache,
        "paths.runs": tmp_path / "runs",
        "paths.checkpoints": tmp_path / "checkpoints",
        "images_output_dir": tmp_path / "output_images/demo",
    }
    overrides = " ".join([*SMALL, *(f"{key}={value}" for key, value in folders.items())])
    environment = flower.flower_environment() | {"FLWR_HOME": str(tmp_path)}
    with flower.private_superlink(tmp_path, environment):
        run = flower.flwr(
            [
                *("run", str(flower.project_folder()), flower.PRIVATE, "--format", "json"),
                *("--run-config", f'overrides="{overrides}"'),
                *("--federation-config", "num-supernodes=2 client-resources-num-cpus=1"),
            ],
            environment,
        )
        flower.wait_for(str(run["run-id"]), flower.PRIVATE, environment)
    assert_same(inprocess, tmp_path)


def test_a_simulation_listens_on_loopback_only_and_ends_with_its_command(tmp_path: Path, embedding_cache: Path) -> None:
    words = ["engine=flower", "stages=[generators]", "generator.epochs=5000", f"paths.cache={embedding_cache}"]
    with open(tmp_path / "log", "wb") as log:
        command = psutil.Popen([sys.executable, "-m", "vegas_fl", *words], cwd=tmp_path, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 90
        family: list[psutil.Process] = []
        while not any("raylet" in process.name() for process in family if process.is_running()):
            assert command.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.5)
            family = command.children(recursive=True)
        time.sleep(3)  # its workers have started
        family = command.children(recursive=True)
        listening = []
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                listening += [one for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        places = {str(ipaddress.ip_address(one.laddr.ip.removeprefix("::ffff:"))) for one in listening}
        assert places and all(ipaddress.ip_address(place).is_loopback for place in places), places
    finally:
        command.kill()
    assert psutil.wait_procs(family, 10)[1] == []


def test_a_failed_run_says_why_and_exits_with_1(tmp_path: Path, embedding_cache: Path, no_superlink_left: None) -> None:
    for label in ("dog", "chainsaw"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for index in range(12):
            noise = np.random.default_rng(index).normal(0, 0.1, 16000)
            soundfile.write(tmp_path / "sounds" / label / f"{index}.wav", noise, 16000)
    (tmp_path / "sounds" / "dog" / "11.wav").write_bytes(b"RIFF, and nothing that follows")
    done = vegas(
        tmp_path,
        *["engine=flower", "data=folder", "data.root=sounds", "stages=[generators]", "generator.epochs=1"],
        f"paths.cache={embedding_cache}",
        code=1,
    )
    assert "11.wav" in done.stderr
    assert "1 of 2 nodes sent a usable reply" in done.stderr


def test_the_app_that_is_packed_holds_what_nodes_run(tmp_path: Path) -> None:
    """Weights cannot travel, and nodes run neither the command line nor the tools behind it."""
    import zipfile

    packed = subprocess.run(
        [str(Path(sys.executable).with_name("flwr")), "build", "--app", str(flower.project_folder())],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=flower.flower_environment() | {"FLWR_HOME": str(tmp_path)},
        check=False,
    )
    assert packed.returncode == 0, packed.stdout + packed.stderr
    (fab,) = tmp_path.glob("*.fab")
    names = zipfile.ZipFile(fab).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {"conf", "vegas_fl", "clients", "strategies", "pyproject.toml"} <= tops
    assert not tops & {"tests", "vegas_tiny", ".venv", "shared", "docs", "deploy"}
    rooms = {name.split("/")[1] for name in names if name.startswith("vegas_fl/")}
    assert {"algorithm", "federation", "runs"} <= rooms
    assert not rooms & {"benchmarks", "cli", "deployment", "migration", "__main__.py"}
