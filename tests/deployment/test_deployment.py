"""The deployment kit without its processes: settings, keys, certificates, connections, checks, units."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import threading
import tomllib
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    load_ssh_private_key,
    load_ssh_public_key,
)

from tests.support.command import vegas
from tests.support.hosts import change, unused_port
from tests.support.project import ROOT
from tests.support.tables import table
from vegas_fl.config import Allow
from vegas_fl.core.errors import VegasError
from vegas_fl.deployment import certificates, flower
from vegas_fl.deployment.settings import read_node, read_server


def test_the_examples_are_what_is_set_by_default(machines: Path) -> None:
    server, node = read_server(machines / "server.yaml"), read_node(machines / "node.yaml")
    assert server.address == node.superlink == "127.0.0.1:9092"
    (machines / "server.yaml").write_text("host: 127.0.0.1\n")
    assert read_server(machines / "server.yaml") == server
    assert node.node_config == {"partition-id": 0, "device": "auto", "output-dir": str(machines / "node_0/output")}
    change(machines / "node.yaml", data_root="/data/so unds", models={"a/b": "/m", "c/d": None})
    assert read_node(machines / "node.yaml").node_config["models"] == "a/b=/m,c/d"
    change(machines / "node.yaml", allow={"classes": ["dog"], "clips_per_class": 4})
    assert read_node(machines / "node.yaml").node_config["allow"] == '{"classes":["dog"],"clips_per_class":4}'


def test_the_commented_policy_is_the_default() -> None:
    lines = (ROOT / "deploy/node.yaml").read_text().partition("# allow:\n")[2].splitlines()
    policy = yaml.safe_load("\n".join(line[2:] for line in lines if line.startswith("#   ")))
    assert Allow.model_validate(policy) == Allow() and set(policy) == set(Allow.model_fields)


@pytest.mark.parametrize(("name", "text", "told"), table(__file__))
def test_mistakes_of_settings_are_told(machines: Path, name: str, text: str, told: str) -> None:
    (machines / name).write_text(text)
    command = "ca" if name == "server.yaml" else "key"
    assert told in vegas(machines, "deploy", command, name, code=1).stderr
    assert sorted(path.name for path in machines.iterdir()) == ["node.yaml", "server.yaml"]


def test_settings_of_the_other_kind_are_refused(machines: Path) -> None:
    assert "has the settings of node 0" in vegas(machines, "deploy", "ca", "node.yaml", code=1).stderr
    assert "has the settings of the server" in vegas(machines, "deploy", "key", "server.yaml", code=1).stderr
    assert "cannot be read (No such file" in vegas(machines, "deploy", "key", "gone.yaml", code=1).stderr


def test_keys_are_made_once_and_are_their_owners_alone(machines: Path) -> None:
    vegas(machines, "deploy", "ca", "server.yaml")
    vegas(machines, "deploy", "certificate", "server.yaml")
    vegas(machines, "deploy", "key", "node.yaml")
    private = [machines / name for name in ("server/ca.key", "server/server.key", "node_0/node_0")]
    before = [path.read_bytes() for path in private]
    assert [path.stat().st_mode & 0o777 for path in private] == [0o600] * 3
    for verb, name in (("ca", "server.yaml"), ("certificate", "server.yaml"), ("key", "node.yaml")):
        assert "is not overwritten" in vegas(machines, "deploy", verb, name, code=1).stderr
    assert [path.read_bytes() for path in private] == before
    key = load_ssh_private_key(private[2].read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp384r1"
    assert load_ssh_public_key((machines / "node_0/node_0.pub").read_bytes()) == key.public_key()
    vegas(machines, "deploy", "certificate", "server.yaml", "--renew")
    assert private[1].read_bytes() != before[1] and private[1].stat().st_mode & 0o777 == 0o600
    assert certificates.mismatch(machines / "server") is None


def test_a_full_disk_leaves_no_half_pair_and_the_old_certificate(
    machines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the same command can be given again, and a SuperLink goes on with what it has."""
    open_, full = os.open, ["ca.crt", "node_0.pub", "server.crt.new"]

    def refuse(path: object, *how: int) -> int:
        if Path(str(path)).name in full:
            raise OSError(28, "No space left on device")
        return open_(str(path), *how)

    monkeypatch.setattr(os, "open", refuse)
    for verb, name in (("ca", "server.yaml"), ("key", "node.yaml")):
        assert "No space left on device); free the disk" in vegas(machines, "deploy", verb, name, code=1).stderr
    assert not [path for path in machines.rglob("*") if path.is_file() and path.suffix != ".yaml"]
    del full[:2]
    vegas(machines, "deploy", "ca", "server.yaml")
    vegas(machines, "deploy", "key", "node.yaml")
    full.clear()
    vegas(machines, "deploy", "certificate", "server.yaml")
    before = {path.name: path.read_bytes() for path in (machines / "server").iterdir()}
    full.append("server.crt.new")
    assert "No space left" in vegas(machines, "deploy", "certificate", "server.yaml", "--renew", code=1).stderr
    assert {path.name: path.read_bytes() for path in (machines / "server").iterdir()} == before


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
    for nonsense in (b"[", b"superlink = 3", b"\xff"):
        file.write_bytes(nonsense)
        assert (
            "is not a Flower configuration in TOML"
            in vegas(machines, "deploy", "connect", "server.yaml", code=1).stderr
        )


def test_folders_of_any_name_are_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces, quotes, and letters of which JSON makes two halves."""
    folder = tmp_path / "a 'b' \"c\" 𠮷 $d %e"
    folder.mkdir()
    for name in ("server.yaml", "node.yaml"):
        shutil.copy(ROOT / "deploy" / name, folder)
    monkeypatch.setenv("FLWR_HOME", str(folder))
    vegas(folder, "deploy", "key", "node.yaml")
    vegas(folder, "deploy", "ca", "server.yaml")
    shutil.copy(folder / "server/ca.crt", folder)
    vegas(folder, "deploy", "connect", "server.yaml")
    link = tomllib.loads((folder / "config.toml").read_text("utf8"))["superlink"]["vegas"]
    assert link["root-certificates"] == f"{folder}/server/ca.crt"
    settings = read_node(folder / "node.yaml")
    config = Path(flower.command(settings)[-1])
    assert tomllib.loads(config.read_text("utf8"))["output-dir"] == f"{folder}/node_0/output"


def test_a_superlink_of_one_address_is_looked_for_there(machines: Path) -> None:
    change(machines / "server.yaml", bind="10.1.2.3", host="fl.example.org")
    server = read_server(machines / "server.yaml")
    assert server.local == "10.1.2.3:9092"
    vegas(machines, "deploy", "ca", "server.yaml")
    assert "for fl.example.org, 10.1.2.3" in vegas(machines, "deploy", "certificate", "server.yaml").stdout


def test_what_is_missing_is_told_before_a_start(machines: Path) -> None:
    assert "is missing; run vegas-fl deploy ca" in vegas(machines, "deploy", "superlink", "server.yaml", code=1).stderr
    assert "vegas-fl deploy key" in vegas(machines, "deploy", "supernode", "node.yaml", code=1).stderr
    vegas(machines, "deploy", "key", "node.yaml")
    assert "copy the server's ca.crt" in vegas(machines, "deploy", "supernode", "node.yaml", code=1).stderr
    assert "superlink did not run" in vegas(machines, "deploy", "stop", "server.yaml").stdout


def test_a_superlink_that_is_not_there_is_told(machines: Path) -> None:
    vegas(machines, "deploy", "ca", "server.yaml")
    with pytest.raises(VegasError, match="cannot be reached"):
        flower.health(f"127.0.0.1:{unused_port()}", machines / "server/ca.crt")
