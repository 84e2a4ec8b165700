"""A federation of a server and three nodes as real processes on hosts of their own, over TLS with node
authentication, set up by the commands of docs/deployment.md."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from tests.support.command import vegas
from tests.support.hosts import SERVER, VEGAS, Hosts, hosts
from vegas_fl.deployment import certificates
from vegas_fl.engines import flower

pytestmark = [pytest.mark.slow, pytest.mark.deploy]

NODES = ("0", "1", "2")
SMALL = [
    *("data.clips_per_class=20", "generator.epochs=10", "samples_per_node=4"),
    *(f"nodes.{i}={{selected_classes: [{c}], samples_per_node: 4}}" for i, c in enumerate(("dog", "chainsaw", "drum"))),
]


class Deployment:
    """Its folders are a machine's own: what one needs of another is copied, as its people would."""

    def __init__(self, folder: Path, machines: Hosts, port: int) -> None:
        self.folder, self.hosts, self.port = folder, machines, port
        address = machines.addresses[SERVER]
        server = {"name": "vegas", "host": address, "bind": "0.0.0.0" if machines.prefix else "127.0.0.1", "port": port}
        self.write(SERVER, "server.yaml", server)
        for node in (*NODES, "9"):
            own = {"node": int(node), "superlink": f"{address}:{port}", "ca": "ca.crt", "output_dir": "output"}
            # Read by runs of data=folder alone.
            silent = self.at(node) / "sounds/dog/patient-7.wav"
            silent.parent.mkdir(parents=True)
            soundfile.write(silent, [0.0] * 16_000, 16_000)
            own |= {"data_root": "sounds", "port": port + 1 + int(node), "device": "cpu"}
            own |= {"allow": {"clips_per_class": 1}}
            self.write(node, "node.yaml", own)

    def at(self, machine: str) -> Path:
        """Folder of a machine."""
        return self.folder / machine

    def write(self, machine: str, name: str, values: dict) -> None:
        self.at(machine).mkdir(exist_ok=True)
        (self.at(machine) / name).write_text(yaml.safe_dump(values))

    def vegas(self, machine: str, *arguments: str, code: int = 0) -> str:
        """`vegas-fl …` on a machine; node 9 is a stranger on node 0's."""
        host = "0" if machine == "9" else machine
        return self.hosts.run(host, VEGAS, *arguments, folder=self.at(machine), code=code)

    def copy(self, source: Path, *targets: Path) -> None:
        for target in targets:
            target.write_bytes(source.read_bytes())


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Three nodes that are connected; ended by the files that say which processes they are."""
    with hosts(*NODES) as machines, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = 20000 + free.getsockname()[1] % 20000
        made = Deployment(tmp_path_factory.mktemp("deployment"), machines, port)
        made.vegas(SERVER, "deploy", "ca", "server.yaml")
        made.vegas(SERVER, "deploy", "certificate", "server.yaml")
        made.copy(made.at(SERVER) / "server/ca.crt", *(made.at(node) / "ca.crt" for node in (*NODES, "9")))
        for node in (*NODES, "9"):
            made.vegas(node, "deploy", "key", "node.yaml")
        for node in NODES:
            made.copy(made.at(node) / f"node_{node}/node_{node}.pub", made.at(SERVER) / f"node_{node}.pub")
        try:
            made.vegas(SERVER, "deploy", "superlink", "server.yaml")
            made.vegas(SERVER, "deploy", "register", "server.yaml", *(f"node_{node}.pub" for node in NODES))
            started = [
                machines.start(node, VEGAS, "deploy", "supernode", "node.yaml", folder=made.at(node)) for node in NODES
            ]
            for node, process in zip(NODES, started, strict=True):
                printed, _ = process.communicate(timeout=120)
                assert f"SuperNode {node} runs" in printed, printed
            made.vegas(SERVER, "deploy", "connect", "server.yaml")
            yield made
        finally:
            made.vegas(SERVER, "deploy", "stop", *(f"../{node}/node.yaml" for node in (*NODES, "9")), "server.yaml")
            assert machines.left() == []


@pytest.fixture(scope="module")
def whole(deployment: Deployment) -> Path:
    """The server's folder after the whole workflow."""
    told = deployment.vegas(SERVER, "engine=flower", "engine.connection=vegas", "run=whole", *SMALL)
    assert "run whole finished" in told
    return deployment.at(SERVER)


def test_all_is_well(deployment: Deployment) -> None:
    told = deployment.vegas(SERVER, "doctor", "server.yaml") + deployment.vegas("0", "doctor", "node.yaml")
    assert "nodes: 3 online" in told and "its certificate is signed by the CA" in told and "PROBLEM" not in told


def test_a_node_that_was_not_registered_is_refused(deployment: Deployment) -> None:
    told = deployment.vegas("9", "deploy", "supernode", "node.yaml", code=1)
    assert "refused node 9: " in told and "is not registered" in told
    assert "supernode_9 did not run" in deployment.vegas("9", "deploy", "stop", "node.yaml")


def test_a_server_that_another_ca_vouches_for_is_refused(deployment: Deployment) -> None:
    other = deployment.folder / "other"
    other.mkdir()
    (other / "server.yaml").write_text("host: example.org\n")
    deployment.hosts.run(SERVER, VEGAS, "deploy", "ca", "server.yaml", folder=other)
    address = f"{deployment.hosts.addresses[SERVER]}:{deployment.port}"
    own = {"node": 9, "superlink": address, "ca": str(other / "server/ca.crt"), "output_dir": "output"}
    deployment.write("9", "deceived.yaml", own)
    assert "CERTIFICATE_VERIFY_FAILED" in deployment.vegas("9", "deploy", "supernode", "deceived.yaml", code=1)
    assert "PROBLEM superlink" in deployment.vegas("9", "doctor", "deceived.yaml", code=1)


def test_flower_itself_refuses_no_tls_no_key_and_another_ca(deployment: Deployment) -> None:
    """Without the checks of `vegas-fl deploy supernode` before it starts."""
    other = certificates.make_ca(deployment.folder / "yet another", "other", days=1)
    key = ("--auth-supernode-private-key", "node_0/node_0")
    ways = [("--insecure",), ("--root-certificates", "ca.crt"), ("--root-certificates", str(other), *key)]
    address = f"{deployment.hosts.addresses[SERVER]}:{deployment.port}"
    started = []
    for number, way in enumerate(ways):
        port = str(deployment.port + 15 + number)
        command = [flower.tool("flower-supernode"), "--superlink", address, "--port", port, "--max-retries", "1", *way]
        with open(deployment.folder / f"way {number}.log", "w") as log:
            own = {"folder": deployment.at("0"), "environment": flower.flower_environment(), "output": log}
            started.append((deployment.hosts.start("0", *command, **own), Path(log.name)))
    for process, log in started:
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:  # it tries on and on
            process.terminate()
            process.wait(timeout=30)
        printed = log.read_text()
        assert "Starting Flower SuperNode" in printed and "SuperNode ID:" not in printed


def test_the_whole_workflow_gives_the_same_as_in_process(
    deployment: Deployment, whole: Path, tmp_path: Path, embedding_cache: Path
) -> None:
    vegas(tmp_path, "run=whole", *SMALL, "stages=[generators,adapters]", f"paths.cache={embedding_cache}")
    weights = sorted(path.relative_to(tmp_path) for path in tmp_path.glob("checkpoints/**/*.safetensors"))
    assert len([path for path in weights if "node_" not in str(path)]) == 3 + 2
    for path in weights:
        owner = re.search(r"/node_(\d)/", str(path))
        place = deployment.at(owner[1]) / "output" if owner else whole  # a whole generator stays on its node
        expected, found = load_file(tmp_path / path), load_file(place / path)
        for key in expected:
            torch.testing.assert_close(found[key], expected[key], rtol=0, atol=1e-5, msg=f"{path} {key}")


def test_pictures_are_on_the_nodes_and_the_same_to_the_byte(
    deployment: Deployment, whole: Path, tmp_path: Path
) -> None:
    """As drawn in process from the same checkpoints, and by a plain `flwr run` of the pictures alone."""
    kept = [f"{part}.checkpoint_dir={whole}/checkpoints/{part}s/whole" for part in ("generator", "adapter")]
    vegas(tmp_path, "run=again", *SMALL, "stages=[images]", *kept)
    overrides = " ".join([word.replace(" ", "") for word in SMALL] + ["stages=[images]", "run=plain", *kept])
    submit = ["run", str(flower.project_folder()), "vegas", "--run-config", f"overrides='{overrides}'"]
    deployment.hosts.run(SERVER, flower.tool("flwr"), *submit, "--stream", folder=whole)
    for node in NODES:
        own = deployment.at(node) / "output/output_images"
        drawn = pictures(own / "whole" / f"node_{node}")
        assert len(drawn) == 4
        assert drawn == pictures(tmp_path / f"output_images/again/node_{node}")
        assert drawn == pictures(own / "plain" / f"node_{node}")
        # The models were loaded for the first of these messages, and kept for the second.
        assert (deployment.at(node) / f"node_{node}/supernode_{node}.log").read_text().count("renderer.memory=") == 1
    assert not list(whole.rglob("*.png"))


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*_0*.png"))}


def test_what_the_run_needed_is_left_on_the_server(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "runs/whole/metrics.jsonl").read_text().splitlines()]
    assert {line["node"] for line in lines if "pictures" in line} == set(NODES)
    assert (whole / "runs/whole/report.html").is_file()


def test_what_is_wrong_with_a_recording_is_in_the_nodes_log_alone(deployment: Deployment) -> None:
    own = [
        *(f"nodes.{node}={{selected_classes: [dog], samples_per_node: 4}}" for node in NODES),
        *("run=silent", "data=folder", "data.root=/etc", "data.partition=none", "stages=[generators]"),
        *("data.train_ratio=1.0", "data.val_ratio=0.0", "data.test_ratio=0.0"),
        *("evaluation.split=none", "evaluation.generators=false"),
    ]
    command = [VEGAS, "engine=flower", "engine.connection=vegas", *own]
    run = deployment.hosts.start(SERVER, *command, folder=deployment.at(SERVER))
    told, _ = run.communicate(
        timeout=120
    )  # Flower shows where in the ServerApp an error was raised, and then the error
    assert run.returncode == 1
    assert "node 2: node 2 cannot use its recordings; see its own log" in told
    assert "patient" not in told and "silent (peak" not in told
    for node in NODES:
        log = (deployment.at(node) / f"node_{node}/supernode_{node}.log").read_text()
        assert f"{deployment.at(node)}/sounds/dog/patient-7.wav is silent" in log


def test_a_node_that_is_cut_off_is_dropped_and_rejoins(deployment: Deployment) -> None:
    if deployment.hosts.prefix is None:
        pytest.skip("a link can be cut between hosts of their own: as root, with iproute2")
    own = [
        *("run=cut", "stages=[generators,adapters]", "evaluation.generators=false", "evaluation.split=none"),
        *("rounds=5", "federation.min_nodes=2", "federation.timeout=45"),
    ]
    command = [VEGAS, "engine=flower", "engine.connection=vegas", *SMALL, *own]
    run = deployment.hosts.start(SERVER, *command, folder=deployment.at(SERVER))
    told = ""
    try:
        assert run.stdout is not None
        for line in run.stdout:
            told += line
            if "adapters: 5 rounds" in line:
                deployment.hosts.cut("2")
            if "dropped node 2" in line:
                deployment.hosts.mend("2")
    finally:
        deployment.hosts.mend("2")
        run.wait(timeout=60)
    assert run.returncode == 0, told
    assert "adapters, round 1: dropped node 2" in told
    lines = [json.loads(line) for line in (deployment.at(SERVER) / "runs/cut/metrics.jsonl").read_text().splitlines()]
    trained = {(line["round"], line["node"]) for line in lines if line["stage"] == "adapters" and "training" in line}
    assert {node for round_, node in trained if round_ == 1} == {"0", "1"}
    # Flower sees that it is back with its next sign of life: a round may begin before.
    assert {node for round_, node in trained if round_ > 1} == set(NODES)


def test_what_keeps_a_nodes_models_ends_with_it(deployment: Deployment, whole: Path) -> None:
    """However it ends; as another worker of the same node, it is started when the next message needs it."""
    node, folder = deployment.at("0"), str(deployment.at("0") / "output/cache/worker")
    (supernode,) = [p for p in psutil.process_iter(["cmdline"]) if str(node / "node_0/node_0") in _command(p)]
    if not (kept := [p for p in psutil.process_iter(["cmdline"]) if folder in _command(p)]):
        pytest.skip("it had been idle for minutes")
    supernode.kill()
    assert not psutil.wait_procs(kept, timeout=10)[1]


def _command(process: psutil.Process) -> list[str]:
    return process.info["cmdline"] or []


def test_a_private_key_is_its_owners_alone(deployment: Deployment) -> None:
    keys = [path for path in deployment.folder.rglob("*") if b"PRIVATE KEY" in _start(path)]
    assert len(keys) >= 2 + 4 and all(path.stat().st_mode & 0o077 == 0 for path in keys)


def _start(path: Path) -> bytes:
    return path.open("rb").read(60) if path.is_file() else b""
