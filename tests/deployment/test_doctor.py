"""`vegas-fl doctor` with each thing broken in turn."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.command import vegas
from tests.support.hosts import change, unused_port
from vegas_fl.core import devices, versions
from vegas_fl.deployment import certificates


def test_the_doctor_names_what_is_wrong(machines: Path) -> None:
    vegas(machines, "deploy", "ca", "server.yaml")
    change(machines / "server.yaml", certificate_days=7)
    vegas(machines, "deploy", "certificate", "server.yaml")
    (machines / "server/server.key").chmod(0o644)
    change(machines / "server.yaml", host="new.example.org")
    told = vegas(machines, "doctor", "server.yaml", code=1).stdout
    assert "warning certificate: " in told and "expires in 7 days" in told
    assert f"PROBLEM key: {machines}/server/server.key can be read by others; run chmod 600" in told
    assert "PROBLEM certificate: it is not for new.example.org; make it again with --renew" in told
    assert "ok      versions: Python" in told and "ok      pack: " in told
    change(
        machines / "node.yaml",
        **{"ca": "server/ca.crt", "data_root": "gone", "device": "cuda:7", "models": {"a/b": "nowhere"}},
        **{"superlink": f"127.0.0.1:{unused_port()}", "output_dir": "node.yaml/out"},
    )
    told = vegas(machines, "doctor", "node.yaml", code=1).stdout
    for subject in ("key", "superlink", "data_root", "models", "device", "output_dir"):
        assert f"PROBLEM {subject}: " in told, told


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (None, "node_0 cannot be read as a private key (Is a directory)"),
        (b"nonsense", "node_0 cannot be read as a private key"),
        (ed25519.Ed25519PrivateKey.generate(), "node_0 is not a P-384 key"),
        (ec.generate_private_key(ec.SECP256R1()), "node_0 is not a P-384 key"),
        (ec.generate_private_key(ec.SECP384R1()), "node_0.pub is not the public key of node_0"),
    ],
)
def test_a_key_that_would_be_refused_is_told(machines: Path, key: Any, told: str) -> None:
    vegas(machines, "deploy", "key", "node.yaml")
    vegas(machines, "deploy", "ca", "server.yaml")
    shutil.copy(machines / "server/ca.crt", machines)
    path = machines / "node_0/node_0"
    path.unlink()
    if key is None:
        path.mkdir()
    else:
        form = (Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        path.write_bytes(key if isinstance(key, bytes) else key.private_bytes(*form))
        path.chmod(0o600)
    assert told in vegas(machines, "doctor", "node.yaml", code=1).stdout.replace(f"{machines}/node_0/", "")
    if key is not None:
        assert told in vegas(machines, "deploy", "supernode", "node.yaml", code=1).stderr.replace(
            f"{machines}/node_0/", ""
        )


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("flwr", "1.40.0", "flwr 1.40.0, expected flwr<1.42,>=1.41"),
        ("torch", "1.0", "torch 1.0, expected torch>=2.6"),
        ("diffusers", None, "diffusers is missing"),
    ],
)
def test_another_version_of_a_package_is_told(
    machines: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: str | None, told: str
) -> None:
    real = importlib.metadata.version

    def other(asked: str) -> str:
        if asked == name and version is None:
            raise importlib.metadata.PackageNotFoundError(asked)
        return version or real(asked) if asked == name else real(asked)

    monkeypatch.setattr(importlib.metadata, "version", other)
    seen = vegas(machines, "doctor", "server.yaml", code=1).stdout
    assert seen.startswith("PROBLEM versions: ") and told in seen.splitlines()[0]


def test_installs_by_flower_are_warned_of(machines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"
    monkeypatch.delenv(variable, raising=False)
    seen = vegas(machines, "doctor", "server.yaml", code=1).stdout
    assert f"warning flwr run: {variable} is not set" in seen
    monkeypatch.setenv(variable, "1")
    assert f"ok      flwr run: {variable}=1" in vegas(machines, "doctor", "server.yaml", code=1).stdout


def test_versions_that_were_not_tested_are_warned_of(machines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(versions.LOCKED, "diffusers", "0.1")
    seen = vegas(machines, "doctor", "server.yaml", code=1).stdout
    assert re.search(r"^warning versions: diffusers \S+ \(tested: 0.1\)", seen, re.MULTILINE)


def test_a_pack_that_is_not_there_is_told(machines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vegas_tiny", None)
    assert "PROBLEM pack: the tiny pack" in vegas(machines, "doctor", "server.yaml", code=1).stdout


def test_data_that_cannot_be_read_and_a_full_disk_are_told(machines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(machines / "node.yaml", data_root="sounds")
    for name in ("dog", "cat"):
        (machines / "sounds" / name).mkdir(parents=True)
    access = os.access  # as root, everything can be read
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "dog" and access(path, mode))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    told = vegas(machines, "doctor", "node.yaml", code=1).stdout
    assert f"PROBLEM data_root: {machines}/sounds: no permission to read dog" in told
    assert f"PROBLEM output_dir: {machines}/node_0/output, 0 GB free" in told


@pytest.fixture
def busy() -> Iterator[int]:
    """A port that another process listens at."""
    script = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    command = [sys.executable, "-c", script + "; time.sleep(99)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


@pytest.mark.slow
def test_a_port_that_is_taken_is_told_before_a_start(machines: Path, busy: int) -> None:
    """A SuperLink that another one's answer was taken for would be said to run."""
    change(machines / "server.yaml", port=busy)
    vegas(machines, "deploy", "ca", "server.yaml")
    vegas(machines, "deploy", "certificate", "server.yaml")
    told = f"port {busy}: it is taken by python"
    assert told in vegas(machines, "deploy", "superlink", "server.yaml", code=1).stderr
    assert f"PROBLEM port: port {busy} is taken by python" in vegas(machines, "doctor", "server.yaml", code=1).stdout
    change(machines / "node.yaml", port=busy, ca="server/ca.crt", superlink=f"127.0.0.1:{busy}")
    vegas(machines, "deploy", "key", "node.yaml")
    assert told in vegas(machines, "deploy", "supernode", "node.yaml", code=1).stderr
    assert not list(machines.rglob("*.pid"))


def test_what_systemd_started_is_no_stranger(machines: Path) -> None:
    script = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    command = [sys.executable, "-c", script + "; time.sleep(99)", f"{machines}/server/state.db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        change(machines / "server.yaml", port=int(process.stdout.readline()))
        told = vegas(machines, "doctor", "server.yaml", code=1).stdout
        process.kill()
    assert "ok      process: superlink runs, not started by vegas-fl deploy: python" in told


def test_a_certificate_that_is_no_more_valid_is_told(machines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = certificates.make_ca(machines / "server", "x", days=1)

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            return super().now(tz) + datetime.timedelta(days=4)

    monkeypatch.setattr(datetime, "datetime", Later)
    assert certificates.look_at(ca).days_left < -2
    assert "expired 3 days ago" in vegas(machines, "doctor", "server.yaml", code=1).stdout


def test_a_gpu_that_cannot_be_used_and_a_model_too_large_for_a_cpu_are_told(
    machines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "big" / "transformer").mkdir(parents=True)
    shape = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128}
    shape |= {"pooled_projection_dim": 768, "joint_attention_dim": 4096}
    (tmp_path / "big" / "transformer" / "config.json").write_text(json.dumps(shape))
    change(machines / "node.yaml", models={"owner/big": str(tmp_path / "big")}, device="cpu")
    told = vegas(machines, "doctor", "node.yaml", code=1).stdout
    assert re.search(r"warning device: owner/big has 11.8 billion parameters.* CPU: a picture .* minutes", told), told
    change(machines / "node.yaml", device="auto")
    monkeypatch.setattr(devices, "gpu_present", lambda: "/dev/nvidia0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    told = vegas(machines, "doctor", "node.yaml", code=1).stdout
    assert "PROBLEM device: device=auto: this machine has a GPU (/dev/nvidia0)" in told
