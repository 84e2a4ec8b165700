"""`vegas-fl deploy` and `vegas-fl doctor`: a federation on several machines. Step by step in docs/deployment.md."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically
from vegas_fl.deployment import certificates, flower
from vegas_fl.deployment import units as templates
from vegas_fl.deployment.processes import become
from vegas_fl.deployment.settings import read_node, read_server, read_settings

deploy = typer.Typer(
    help="Set up a federation on several machines.\n\nStep by step in docs/deployment.md.", no_args_is_help=True
)
app.add_typer(deploy, name="deploy")

Server = Annotated[Path, typer.Argument(metavar="SERVER.yaml", help="Settings of the server, as deploy/server.yaml.")]
OneNode = Annotated[Path, typer.Argument(metavar="NODE.yaml", help="Settings of a node, as deploy/node.yaml.")]
Machine = Annotated[Path, typer.Argument(metavar="SETTINGS.yaml", help="Settings of the server or of a node.")]
Machines = Annotated[list[Path], typer.Argument(metavar="SETTINGS.yaml...", help="Settings of the server or of nodes.")]
Foreground = Annotated[bool, typer.Option("--foreground", help="Run in the foreground, for systemd and containers.")]

READY = 60.0
"""Seconds to wait for a process to be ready."""


@deploy.command()
def ca(server: Server) -> None:
    """On the server: make a certificate authority.

    Nodes and users get a copy of ca.crt; ca.key stays on the server.
    """
    settings = read_server(server)
    made = certificates.make_ca(settings.folder, settings.name, settings.ca_days)
    print(f"{made}: copy it to every node and user; ca.key stays here")


@deploy.command()
def certificate(
    server: Server, renew: Annotated[bool, typer.Option("--renew", help="Replace an existing certificate.")] = False
) -> None:
    """On the server: make its key and certificate.

    The certificate is for host and names of the settings. Both files stay on the server.
    """
    settings = read_server(server)
    made = certificates.make_server_certificate(settings.folder, settings.certified, settings.certificate_days, renew)
    seen = certificates.look_at(made)
    print(f"{made}: for {', '.join(seen.names)}, {seen.days_left:.0f} days{'; restart the SuperLink' if renew else ''}")


@deploy.command()
def key(node: OneNode) -> None:
    """On a node: make its key.

    The public key is registered at the server; the private one stays on the node.
    """
    public = certificates.make_node_key(read_node(node).key)
    print(f"{public}: copy it to the server and register it there with `vegas-fl deploy register`")


@deploy.command()
def register(
    server: Server,
    keys: Annotated[list[Path], typer.Argument(metavar="KEY.pub...", help="Public keys of nodes.")],
) -> None:
    """On the server: let nodes take part (SuperLink running)."""
    for sentence in flower.register(read_server(server), keys):
        print(sentence)


@deploy.command()
def superlink(server: Server, foreground: Foreground = False) -> None:
    """On the server: start the SuperLink."""
    settings = read_server(server)
    command, environment = flower.command(settings), flower.environment(settings)
    if foreground:
        become(settings.folder, command, environment)

    def healthy(printed: str) -> bool:
        try:
            return bool(flower.health(settings.local, settings.ca))
        except VegasError:
            return False

    service = settings.service
    if not service.start(command, environment, healthy, READY):
        service.stop()
        raise VegasError(f"the SuperLink was not ready within {READY:g} s and was stopped; see {service.log}")
    print(f"{settings.title} runs at {settings.address}; log {service.log}")


@deploy.command()
def supernode(node: OneNode, foreground: Foreground = False) -> None:
    """On a node: start its SuperNode."""
    settings = read_node(node)
    command, environment = flower.command(settings), flower.environment(settings)
    if odd := certificates.odd_node_key(settings.key):
        raise VegasError(odd)
    if foreground:
        become(settings.folder, command, environment)
    # The SuperNode waits for a SuperLink that does not answer yet; with one of another CA it would wait forever.
    try:
        flower.health(settings.superlink, settings.ca)
    except VegasError as error:
        if "CERTIFICATE" in str(error).upper():
            raise
        print(f"{error}; the SuperNode waits for it", file=sys.stderr)
    service = settings.service
    try:
        connected = service.start(command, environment, lambda printed: "SuperNode ID:" in printed, READY)
    except VegasError as error:
        if "Failed to activate" not in str(error):
            raise
        raise VegasError(
            f"the SuperLink at {settings.superlink} refused node {settings.node}: {settings.key}.pub is not registered "
            "(on the server: vegas-fl deploy register), or the node is still connected (one that was killed is let in "
            f"again after about a minute), or the clocks differ (vegas-fl doctor {node}); log {service.log}"
        ) from error
    state = "runs" if connected else "was started, but is not connected yet"
    print(f"{settings.title} {state}: {settings.superlink}; log {service.log}")


@deploy.command()
def stop(machines: Machines) -> None:
    """Stop the processes that were started here."""
    services = [settings.service for settings in map(read_settings, machines)]
    refused: list[str] = []
    with ThreadPoolExecutor(len(services)) as pool:
        for service, stopping in [(service, pool.submit(service.stop)) for service in services]:
            try:
                print(f"{service.name} {'was stopped' if stopping.result() else 'did not run'}")
            except VegasError as error:
                refused.append(str(error))
    if refused:
        raise VegasError("\n".join(refused))


@deploy.command()
def connect(server: Server) -> None:
    """Where runs are submitted: add the SuperLink to Flower.

    Then `engine.connection=NAME` and `flwr run . NAME` find it.
    """
    settings = read_server(server)
    if not settings.ca.is_file():
        raise VegasError(f"{settings.ca} is missing; copy the server's ca.crt there")
    file = flower.connect(settings.name, settings.address, settings.ca)
    print(f"{file} has {settings.name}: vegas-fl engine=flower engine.connection={settings.name} …")


@deploy.command()
def units(
    machine: Machine,
    user: Annotated[str | None, typer.Option(help="User that the process runs as; default: root.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write it to, as /etc/systemd/system.")] = None,
) -> None:
    """Write a systemd unit for this machine."""
    settings = read_settings(machine)
    text = templates.unit(settings, user)
    for folder in settings.written:  # systemd needs them to exist
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VegasError(f"{folder} cannot be made ({error.strerror}); choose another folder") from error
    if output is None:
        print(text, end="")
        return
    write_atomically(output / templates.unit_name(settings), text.encode())
    print(f"{output / templates.unit_name(settings)}: systemctl enable --now {templates.unit_name(settings)}")


@deploy.command()
def compose(machines: Machines) -> None:
    """Print a compose file for these machines.

    It uses the image of deploy/Dockerfile.
    """
    print(templates.compose([read_settings(file) for file in machines]), end="")


@app.command()
def doctor(machine: Machine) -> None:
    """Check this machine's part of a deployment.

    Versions, keys, clock, ports, folders, models and device are checked; exits with 1 if there is a problem.
    """
    from vegas_fl.deployment.doctor import examine

    marks = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}
    bad = False
    for finding in examine(read_settings(machine)):
        print(f"{marks[finding.verdict]} {finding.subject}: {finding.seen}")
        bad = bad or finding.verdict == "problem"
    if bad:
        sys.exit(1)
