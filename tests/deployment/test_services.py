"""Processes of a deployment: started, found again and ended; units and a compose file that run the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.support.command import vegas
from tests.support.hosts import change
from tests.support.project import ROOT
from vegas_fl.core.errors import VegasError
from vegas_fl.deployment.processes import Service

CHILD = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']); "


def test_a_service_ends_with_its_children_and_by_its_own_pid(tmp_path: Path) -> None:
    service = Service(tmp_path, "thing")
    command = [sys.executable, "-c", CHILD + "print('here', flush=True); time.sleep(99)"]
    assert service.start(command, os.environ, lambda printed: "here" in printed, 20)
    with pytest.raises(VegasError, match="thing already runs"):
        service.start(command, os.environ, lambda printed: True, 20)
    process = service.process()
    assert process is not None
    children = process.children()
    assert len(children) == 1 and service.stop() and not service.stop()
    assert not process.is_running() and not children[0].is_running()


def test_another_process_of_the_same_pid_is_left_alone(tmp_path: Path) -> None:
    service = Service(tmp_path, "thing")
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
    try:
        created = psutil.Process(bystander.pid).create_time()
        service.pid_file.write_text(f'{{"pid": {bystander.pid}, "created": {created - 60}}}')
        assert not service.stop() and bystander.poll() is None
        for nonsense in ("nonsense", "[]", '{"pid": -1, "created": 1}', '{"pid": 9e99, "created": 1}', "[" * 10**5):
            service.pid_file.write_text(nonsense)
            assert not service.stop()
    finally:
        bystander.kill()
        bystander.wait()


def test_a_service_that_ends_at_once_says_why(tmp_path: Path) -> None:
    service, start = Service(tmp_path, "thing"), time.monotonic()
    with pytest.raises(VegasError, match="exit code 3.*\n.*no such luck"):
        service.start([sys.executable, "-c", "print('no such luck'); exit(3)"], os.environ, lambda printed: False, 60)
    assert time.monotonic() - start < 30 and service.process() is None


def test_a_folder_that_is_a_file_is_told(machines: Path) -> None:
    (machines / "server").write_text("")
    for verb in ("ca", "units"):
        assert "server" in vegas(machines, "deploy", verb, "server.yaml", code=1).stderr
    assert "superlink did not run" in vegas(machines, "deploy", "stop", "server.yaml").stdout
    with pytest.raises(VegasError, match="cannot be started"):
        Service(machines / "server", "thing").start([sys.executable], os.environ, lambda printed: True, 1)


def test_a_service_whose_pid_cannot_be_written_does_not_stay(tmp_path: Path) -> None:
    service = Service(tmp_path, "thing")
    service.pid_file.mkdir()
    (service.pid_file / "x").mkdir()
    with pytest.raises(VegasError, match="thing.pid cannot be written"):
        service.start([sys.executable, "-c", "import time; time.sleep(99)"], os.environ, lambda printed: True, 9)
    assert not [one for one in psutil.Process().children() if one.is_running() and "time.sleep(99)" in one.cmdline()]


def test_units_run_the_same_commands_and_open_the_same_folders(machines: Path) -> None:
    change(machines / "node.yaml", data_root="/data/sounds")
    vegas(machines, "deploy", "units", "server.yaml", "--output", "units")
    vegas(machines, "deploy", "units", "node.yaml", "--output", "units", "--user", "vegas")
    text = (machines / "units/vegas-supernode-0.service").read_text()
    assert f"deploy supernode {machines}/node.yaml --foreground" in text and "User=vegas\n" in text
    assert f"ReadWritePaths={machines}/node_0\n" in text
    verified(machines / "units")


def test_a_compose_file_has_a_service_a_machine(machines: Path) -> None:
    change(machines / "node.yaml", data_root="/data/sounds", device="cuda")
    services = yaml.safe_load(vegas(machines, "deploy", "compose", "server.yaml", "node.yaml").stdout)["services"]
    assert services["superlink"]["ports"] == ["9092:9092"]
    node = services["supernode-0"]
    assert node["command"] == ["deploy", "supernode", str(machines / "node.yaml"), "--foreground"]
    mounted = {volume["target"]: volume["read_only"] for volume in node["volumes"]}
    assert all(volume["source"] == volume["target"] for volume in node["volumes"])
    assert mounted["/data/sounds"] and not mounted[f"{machines}/node_0/output"]
    assert "gpu" in str(node["deploy"])
    assert not any("server.key" in target or "ca.key" in target for target in mounted)
    told = vegas(machines, "deploy", "compose", "node.yaml", "node.yaml", code=1).stderr
    assert "supernode-0 appears twice" in told


def test_auto_reserves_a_gpu_and_the_users_models_are_found(
    machines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub"
    hub.mkdir()
    monkeypatch.setenv("HF_HOME", str(hub))
    change(machines / "node.yaml", device="auto", models={"owner/flux": None})
    vegas(machines, "deploy", "units", "node.yaml", "--output", "units")
    text = (machines / "units/vegas-supernode-0.service").read_text()
    assert f"HF_HOME={hub}\n" in text and f"ReadWritePaths={hub}\n" in text and "nvidia-persistenced.service" in text
    service = yaml.safe_load(vegas(machines, "deploy", "compose", "node.yaml").stdout)["services"]["supernode-0"]
    assert "gpu" in str(service["deploy"]) and service["image"] == "vegas-fl-gpu"
    assert service["environment"]["HF_HOME"] in [volume["target"] for volume in service["volumes"]]
    change(machines / "node.yaml", device="cpu", models={})
    service = yaml.safe_load(vegas(machines, "deploy", "compose", "node.yaml").stdout)["services"]["supernode-0"]
    assert "deploy" not in service and service["image"] == "vegas-fl" and str(hub) not in str(service)


def test_units_and_compose_are_for_folders_of_any_name(tmp_path: Path) -> None:
    """Spaces, quotes, and what systemd and compose put other things in the place of."""
    folder = tmp_path / "a 'b' \"c\" $HOME %h : 𠮷"
    folder.mkdir()
    for name in ("server.yaml", "node.yaml"):
        shutil.copy(ROOT / "deploy" / name, folder)
        vegas(folder, "deploy", "units", name, "--output", str(tmp_path / "units"))
    escaped = str(folder).replace('"', '\\"').replace("%", "%%")
    text = (tmp_path / "units/vegas-supernode-0.service").read_text()
    assert f'deploy supernode "{escaped.replace("$", "$$")}/node.yaml" --foreground' in text
    assert f'\nReadWritePaths="{escaped}/node_0"\n' in text
    assert f'\nEnvironment="HF_HOME={escaped}/node_0/huggingface"\n' in text
    verified(tmp_path / "units")
    services = yaml.safe_load(vegas(folder, "deploy", "compose", "server.yaml", "node.yaml").stdout)["services"]
    written = str(folder).replace("$", "$$")
    assert services["supernode-0"]["command"][2] == f"{written}/node.yaml"
    assert f"{written}/node_0" in [volume["source"] for volume in services["supernode-0"]["volumes"]]


def test_a_user_is_a_name(machines: Path) -> None:
    done = vegas(machines, "deploy", "units", "node.yaml", "--user", "vegas\nExecStartPre=/bin/sh", code=1)
    assert "is not a valid user name" in done.stderr


def verified(units: Path) -> None:
    """What systemd makes of units, where there is one."""
    if shutil.which("systemd-analyze"):
        command = ["systemd-analyze", "verify", *(str(path) for path in units.iterdir())]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not [line for line in done.stderr.splitlines() if "vegas-" in line], done.stderr
