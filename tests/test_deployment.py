"""The deployment kit without its processes: settings, keys, certificates, connections, checks, units."""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import psutil
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from tests.command import vegas
from tests.conftest import ROOT
from vegas_fl.deployment import certificates, flower
from vegas_fl.deployment.processes import Service
from vegas_fl.deployment.settings import read_node, read_server
from vegas_fl.errors import VegasError


@pytest.fixture
def machines(tmp_path: Path) -> Path:
    """The example settings, copied as the guide says."""
    for name in ("server.yaml", "node.yaml"):
        shutil.copy(ROOT / "deploy" / name, tmp_path)
    return tmp_path


def change(file: Path, **values: object) -> None:
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | values))


def test_the_examples_are_what_is_set_by_default(machines: Path) -> None:
    server, node = read_server(machines / "server.yaml"), read_node(machines / "node.yaml")
    assert server.address == node.superlink == "127.0.0.1:9092"
    (machines / "server.yaml").write_text("host: 127.0.0.1\n")
    assert read_server(machines / "server.yaml") == server
    assert node.node_config == {"partition-id": 0, "device": "auto", "output-dir": str(machines / "node_0/output")}
    change(machines / "node.yaml", data_root="/data/so unds", models={"a/b": "/m", "c/d": None})
    assert read_node(machines / "node.yaml").node_config["models"] == "a/b=/m,c/d"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("server.yaml", "{", "is no YAML"),
        ("server.yaml", "", "holds no keys"),
        ("server.yaml", "host: x\nprot: 1", "prot: there is no such key; there are name, host, names"),
        ("server.yaml", "port: 99999", "host: required, but not set\n- port: Input should be less than or equal to"),
        ("node.yaml", "node: -1\nca: x\noutput_dir: y\nsuperlink: h:1", "node: Input should be greater"),
        ("node.yaml", "node: 0\nca: x\noutput_dir: y\nsuperlink: https://h", "needed is HOST:PORT, without https://"),
        ("node.yaml", "node: 0\nca: x\noutput_dir: y\nsuperlink: h:1\ndevice: gpu", "needed is auto, cpu, cuda"),
        ("node.yaml", "node: 0\nca: x\noutput_dir: y\nsuperlink: h:1\nmodels: {'a,b': c}", "'a,b' has a ','"),
    ],
)
def test_mistakes_of_settings_are_told(machines: Path, name: str, text: str, told: str) -> None:
    (machines / name).write_text(text)
    command = "ca" if name == "server.yaml" else "key"
    assert told in vegas(machines, "deploy", command, name, code=1).stderr
    assert sorted(path.name for path in machines.iterdir()) == ["node.yaml", "server.yaml"]


def test_settings_of_the_other_kind_are_refused(machines: Path) -> None:
    assert "are the settings of node 0" in vegas(machines, "deploy", "ca", "node.yaml", code=1).stderr
    assert "are the settings of the server" in vegas(machines, "deploy", "key", "server.yaml", code=1).stderr
    assert "cannot be read (No such file" in vegas(machines, "deploy", "key", "gone.yaml", code=1).stderr


def test_keys_are_made_once_and_are_their_owners_alone(machines: Path) -> None:
    vegas(machines, "deploy", "ca", "server.yaml")
    vegas(machines, "deploy", "certificate", "server.yaml")
    vegas(machines, "deploy", "key", "node.yaml")
    private = [machines / name for name in ("server/ca.key", "server/server.key", "node_0/node_0")]
    before = [path.read_bytes() for path in private]
    assert [path.stat().st_mode & 0o777 for path in private] == [0o600] * 3
    for verb, name in (("ca", "server.yaml"), ("certificate", "server.yaml"), ("key", "node.yaml")):
        assert "is not written over" in vegas(machines, "deploy", verb, name, code=1).stderr
    assert [path.read_bytes() for path in private] == before
    key = load_ssh_private_key(private[2].read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp384r1"
    assert load_ssh_public_key((machines / "node_0/node_0.pub").read_bytes()) == key.public_key()
    vegas(machines, "deploy", "certificate", "server.yaml", "--renew")
    assert private[1].read_bytes() != before[1] and private[1].stat().st_mode & 0o777 == 0o600
    assert certificates.mismatch(machines / "server") is None


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "fl.example.org"])
def test_a_certificate_is_for_its_names(machines: Path, name: str) -> None:
    change(machines / "server.yaml", host="fl.example.org", names=["10.1.2.3"])
    vegas(machines, "deploy", "ca", "server.yaml")
    vegas(machines, "deploy", "certificate", "server.yaml")
    assert handshake(machines / "server", machines / "server/ca.crt", name) is None
    assert "Hostname mismatch" in str(handshake(machines / "server", machines / "server/ca.crt", "other.example.org"))
    stranger = certificates.make_ca(machines / "stranger", "stranger", days=1)
    assert "unable to get local issuer" in str(handshake(machines / "server", stranger, name))


def handshake(folder: Path, ca: Path, name: str) -> ssl.SSLError | None:
    """Why a client that trusts ``ca`` refuses the server of ``folder``."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.crt", folder / "server.key")
    client = ssl.create_default_context(cafile=str(ca))
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(ours, server_hostname=name).close()
        return None
    except ssl.SSLError as error:
        ours.close()
        return error
    finally:
        thread.join()


def test_a_connection_is_added_once_and_never_changed(machines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLWR_HOME", str(machines / "home"))
    assert "ca.crt is missing" in vegas(machines, "deploy", "connect", "server.yaml", code=1).stderr
    vegas(machines, "deploy", "ca", "server.yaml")
    file = machines / "home" / "config.toml"
    file.parent.mkdir()
    file.write_text('# mine\n[superlink]\ndefault = "local"\n\n[superlink.local]\naddress = ":local:"\n')
    for _ in range(2):
        vegas(machines, "deploy", "connect", "server.yaml")
    assert file.read_text().startswith("# mine\n") and file.read_text().count("vegas") == 1
    links = tomllib.loads(file.read_text())["superlink"]
    wanted = {"address": "127.0.0.1:9092", "root-certificates": str(machines / "server/ca.crt")}
    assert links == {"default": "local", "local": {"address": ":local:"}, "vegas": wanted}
    change(machines / "server.yaml", port=9093)
    assert "has another connection vegas" in vegas(machines, "deploy", "connect", "server.yaml", code=1).stderr
    file.write_text("[")
    assert "is no TOML" in vegas(machines, "deploy", "connect", "server.yaml", code=1).stderr


def test_what_is_missing_is_told_before_a_start(machines: Path) -> None:
    assert (
        "is missing; it is made by: vegas-fl deploy ca"
        in vegas(machines, "deploy", "superlink", "server.yaml", code=1).stderr
    )
    assert "vegas-fl deploy key" in vegas(machines, "deploy", "supernode", "node.yaml", code=1).stderr
    vegas(machines, "deploy", "key", "node.yaml")
    assert "a copy of the server's ca.crt" in vegas(machines, "deploy", "supernode", "node.yaml", code=1).stderr
    assert "superlink did not run" in vegas(machines, "deploy", "stop", "server.yaml").stdout


def test_the_doctor_names_what_is_wrong(machines: Path) -> None:
    vegas(machines, "deploy", "ca", "server.yaml")
    change(machines / "server.yaml", certificate_days=7)
    vegas(machines, "deploy", "certificate", "server.yaml")
    (machines / "server/server.key").chmod(0o644)
    change(machines / "server.yaml", host="new.example.org")
    told = vegas(machines, "doctor", "server.yaml", code=1).stdout
    assert "warning certificate: " in told and "expires in 7 days" in told
    assert f"PROBLEM key: {machines}/server/server.key can be read by others; run chmod 600" in told
    assert "PROBLEM certificate: it is not for new.example.org; make it anew with --renew" in told
    assert "ok      versions: Python" in told and "ok      pack: " in told
    change(
        machines / "node.yaml",
        **{"ca": "server/ca.crt", "data_root": "gone", "device": "cuda:7", "models": {"a/b": "nowhere"}},
        **{"superlink": f"127.0.0.1:{unused_port()}", "output_dir": "node.yaml/out"},
    )
    told = vegas(machines, "doctor", "node.yaml", code=1).stdout
    for subject in ("key", "superlink", "data_root", "models", "device", "output_dir"):
        assert f"PROBLEM {subject}: " in told, told


def test_a_certificate_that_is_no_more_valid_is_told(machines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = certificates.make_ca(machines / "server", "x", days=1)

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            return super().now(tz) + datetime.timedelta(days=4)

    monkeypatch.setattr(datetime, "datetime", Later)
    assert certificates.look_at(ca).days_left < -2
    assert "expired 3 days ago" in vegas(machines, "doctor", "server.yaml", code=1).stdout


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


CHILD = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']); "


def test_a_service_ends_with_its_children_and_by_its_own_pid(tmp_path: Path) -> None:
    service = Service(tmp_path, "thing")
    command = [sys.executable, "-c", CHILD + "print('here', flush=True); time.sleep(99)"]
    assert service.start(command, os.environ, lambda printed: "here" in printed, 20)
    with pytest.raises(VegasError, match="thing runs already"):
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
        service.pid_file.write_text("nonsense")
        assert not service.stop()
    finally:
        bystander.kill()
        bystander.wait()


def test_a_service_that_ends_at_once_says_why(tmp_path: Path) -> None:
    service, start = Service(tmp_path, "thing"), time.monotonic()
    with pytest.raises(VegasError, match="exit code 3.*\n.*no such luck"):
        service.start([sys.executable, "-c", "print('no such luck'); exit(3)"], os.environ, lambda printed: False, 60)
    assert time.monotonic() - start < 30 and service.process() is None


def test_units_run_the_same_commands_and_open_the_same_folders(machines: Path) -> None:
    change(machines / "node.yaml", data_root="/data/sounds")
    vegas(machines, "deploy", "units", "server.yaml", "--output", "units")
    vegas(machines, "deploy", "units", "node.yaml", "--output", "units", "--user", "vegas")
    text = (machines / "units/vegas-supernode-0.service").read_text()
    assert f"deploy supernode {machines}/node.yaml --foreground" in text and "User=vegas\n" in text
    assert f"ReadWritePaths={machines}/node_0\n" in text
    if shutil.which("systemd-analyze"):
        units = [str(path) for path in (machines / "units").iterdir()]
        done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
        assert not [line for line in done.stderr.splitlines() if "vegas-" in line], done.stderr


def test_a_compose_file_has_a_service_a_machine(machines: Path) -> None:
    change(machines / "node.yaml", data_root="/data/sounds", device="cuda")
    services = yaml.safe_load(vegas(machines, "deploy", "compose", "server.yaml", "node.yaml").stdout)["services"]
    assert services["superlink"]["ports"] == ["9092:9092"]
    node = services["supernode-0"]
    assert node["command"] == ["deploy", "supernode", str(machines / "node.yaml"), "--foreground"]
    assert "/data/sounds:/data/sounds:ro" in node["volumes"]
    assert f"{machines}/node_0/output:{machines}/node_0/output" in node["volumes"]
    assert "gpu" in str(node["deploy"])
    assert not any("server.key" in volume or "ca.key" in volume for volume in node["volumes"])
    told = vegas(machines, "deploy", "compose", "node.yaml", "node.yaml", code=1).stderr
    assert "there is a supernode-0 already" in told


def test_a_superlink_that_is_not_there_is_told(machines: Path) -> None:
    vegas(machines, "deploy", "ca", "server.yaml")
    with pytest.raises(VegasError, match="cannot be reached"):
        flower.health(f"127.0.0.1:{unused_port()}", machines / "server/ca.crt")
