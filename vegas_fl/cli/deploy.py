"""`vegas-fl deploy` and `vegas-fl doctor`: a federation on several machines. Step by step in docs/deployment.md."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.core.errors import VegasError

deploy = typer.Typer(
    help="Keys, certificates and processes of a federation on several machines (docs/deployment.md).",
    no_args_is_help=True,
)
app.add_typer(deploy, name="deploy")

Server = Annotated[Path, typer.Argument(metavar="SERVER.yaml", help="Settings of the server, as deploy/server.yaml.")]
OneNode = Annotated[Path, typer.Argument(metavar="NODE.yaml", help="Settings of a node, as deploy/node.yaml.")]
Machine = Annotated[Path, typer.Argument(metavar="SETTINGS.yaml", help="Settings of the server or of a node.")]
Foreground = Annotated[bool, typer.Option("--foreground", help="Stay, for systemd and containers.")]

READY = 60.0
"""Seconds to wait for a process to be ready."""


@deploy.command()
def ca(server: Server) -> None:
    """On the server: make a certificate authority. Nodes and users get a copy of ca.crt; ca.key stays."""
    from vegas_fl.deployment import certificates
    from vegas_fl.deployment.settings import read_server

    settings = read_server(server)
    made = certificates.make_ca(settings.folder, settings.name, settings.ca_days)
    print(f"{made}: copy it to every node and user; ca.key stays here")


@deploy.command()
def certificate(
    server: Server, renew: Annotated[bool, typer.Option("--renew", help="Replace the one that is there.")] = False
) -> None:
    """On the server: make its key and its certificate for host and names of the settings. Neither leaves it."""
    from vegas_fl.deployment import certificates
    from vegas_fl.deployment.settings import read_server

    settings = read_server(server)
    made = certificates.make_server_certificate(settings.folder, settings.certified, settings.certificate_days, renew)
    seen = certificates.look_at(made)
    print(f"{made}: for {', '.join(seen.names)}, {seen.days_left:.0f} days{'; restart the SuperLink' if renew else ''}")


@deploy.command()
def key(node: OneNode) -> None:
    """On a node: make its key. The public one goes to the server, to be registered; the private one stays."""
    from vegas_fl.deployment import certificates
    from vegas_fl.deployment.settings import read_node

    public = certificates.make_node_key(read_node(node).key)
    print(f"{public}: bring it to the server, `vegas-fl deploy register` lets the node take part")


@deploy.command()
def register(
    server: Server,
    keys: Annotated[list[Path], typer.Argument(metavar="KEY.pub...", help="Public keys of nodes.")],
) -> None:
    """On the server, while the SuperLink runs: let nodes take part."""
    from vegas_fl.deployment import flower
    from vegas_fl.deployment.settings import read_server

    for told in flower.register(read_server(server), keys):
        print(told)


@deploy.command()
def superlink(server: Server, foreground: Foreground = False) -> None:
    """On the server: start the SuperLink."""
    from vegas_fl.deployment import flower
    from vegas_fl.deployment.processes import Service, become
    from vegas_fl.deployment.settings import read_server

    settings = read_server(server)
    command, environment = flower.command(settings), flower.environment(settings)
    if foreground:
        become(settings.folder, command, environment)

    def healthy(printed: str) -> bool:
        try:
            return bool(flower.health(settings.local, settings.ca))
        except VegasError:
            return False

    service = Service(settings.folder, settings.process)
    host = settings.local.partition(":")[0]
    if not service.start(command, environment, healthy, READY, (host, settings.port)):
        service.stop()
        raise VegasError(f"the SuperLink was not ready within {READY:g} s and was stopped; see {service.log}")
    print(f"SuperLink {settings.name} runs at {settings.address}; log {service.log}")


@deploy.command()
def supernode(node: OneNode, foreground: Foreground = False) -> None:
    """On a node: start its SuperNode."""
    from vegas_fl.deployment import certificates, flower
    from vegas_fl.deployment.processes import Service, become
    from vegas_fl.deployment.settings import read_node

    settings = read_node(node)
    command, environment = flower.command(settings), flower.environment(settings)
    if odd := certificates.odd_node_key(settings.key):
        raise VegasError(odd)
    if foreground:
        become(settings.folder, command, environment)
    # A SuperLink that is not there yet is waited for; one that others vouch for would be tried for ever.
    try:
        flower.health(settings.superlink, settings.ca)
    except VegasError as error:
        if "CERTIFICATE" in str(error).upper():
            raise
        print(f"{error}; the SuperNode waits for it", file=sys.stderr)
    service = Service(settings.folder, settings.process)
    try:
        known = service.start(
            command, environment, lambda printed: "SuperNode ID:" in printed, READY, ("127.0.0.1", settings.own_port)
        )
    except VegasError as error:
        if "Failed to activate" not in str(error):
            raise
        raise VegasError(
            f"the SuperLink at {settings.superlink} refused node {settings.node}: it does not know {settings.key}.pub "
            "(there: vegas-fl deploy register), or takes the node for connected still (one that was killed is let in "
            f"again after about a minute), or the clocks differ (vegas-fl doctor {node}); log {service.log}"
        ) from error
    state = "runs" if known else "was started, but is not connected yet"
    print(f"SuperNode {settings.node} {state}: {settings.superlink}; log {service.log}")


@deploy.command()
def stop(machines: Annotated[list[Path], typer.Argument(metavar="SETTINGS.yaml...")]) -> None:
    """Stop what was started here with these settings, and all it has started."""
    from concurrent.futures import ThreadPoolExecutor

    from vegas_fl.deployment.processes import Service
    from vegas_fl.deployment.settings import read_settings

    services = [Service(settings.folder, settings.process) for settings in map(read_settings, machines)]
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
    """On the machine that submits runs: let `engine.connection=NAME` and `flwr run . NAME` find the SuperLink."""
    from vegas_fl.deployment import flower
    from vegas_fl.deployment.settings import read_server

    settings = read_server(server)
    if not settings.ca.is_file():
        raise VegasError(f"{settings.ca} is missing; copy the server's ca.crt there")
    file = flower.connect(settings.name, settings.address, settings.ca)
    print(f"{file} knows {settings.name}: vegas-fl engine=flower engine.connection={settings.name} …")


@deploy.command()
def units(
    machine: Machine,
    user: Annotated[str | None, typer.Option(help="Whom it runs as; default: root.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write it to, as /etc/systemd/system.")] = None,
) -> None:
    """A systemd unit for this machine."""
    from vegas_fl.core.files import write_atomically
    from vegas_fl.deployment import units as templates
    from vegas_fl.deployment.settings import read_settings

    settings = read_settings(machine)
    text = templates.unit(settings, user)
    for folder in templates.written(settings):  # systemd opens none that is not there
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VegasError(f"{folder} cannot be made ({error.strerror}); choose another") from error
    if output is None:
        print(text, end="")
        return
    write_atomically(output / templates.unit_name(settings), text.encode())
    print(f"{output / templates.unit_name(settings)}: systemctl enable --now {templates.unit_name(settings)}")


@deploy.command()
def compose(machines: Annotated[list[Path], typer.Argument(metavar="SETTINGS.yaml...")]) -> None:
    """A compose file for these machines, with the image of deploy/Dockerfile."""
    from vegas_fl.deployment import units as templates
    from vegas_fl.deployment.settings import read_settings

    print(templates.compose([read_settings(file) for file in machines]), end="")


@app.command()
def doctor(machine: Machine) -> None:
    """Check this machine's part of a deployment: versions, keys, clock, ports, folders, models, device. Ends with 1 if
    there is a problem."""
    from vegas_fl.deployment import doctor as checks
    from vegas_fl.deployment.settings import read_settings

    marks = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}
    bad = False
    for finding in checks.examine(read_settings(machine)):
        print(f"{marks[finding.verdict]} {finding.subject}: {finding.seen}")
        bad = bad or finding.verdict == "problem"
    if bad:
        sys.exit(1)
