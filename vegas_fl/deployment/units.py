"""systemd units and a compose file, from the same settings as the commands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

from vegas_fl.core.errors import VegasError
from vegas_fl.deployment.settings import NodeSettings, ServerSettings

UNIT = """\
# Made by `vegas-fl deploy units {file}`.
[Unit]
Description=vegas-fl: {what}
Wants=network-online.target
After=network-online.target time-sync.target

[Service]
ExecStart={command}
{user}Environment={hub}
Restart=on-failure
RestartSec=10
TimeoutStopSec=60
# The app that a run brings is code: what it may touch is set here, and not by the app.
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=read-only
{paths}
[Install]
WantedBy=multi-user.target
"""

IMAGE = "vegas-fl"
"""Name of the image that deploy/Dockerfile builds."""


def unit_name(settings: ServerSettings | NodeSettings) -> str:
    """Name of a machine's unit."""
    if isinstance(settings, ServerSettings):
        return f"vegas-superlink-{settings.name}.service"
    return f"vegas-supernode-{settings.node}.service"


def unit(settings: ServerSettings | NodeSettings, user: str | None) -> str:
    """A systemd unit that runs a machine's part, started with the machine and again after a failure.

    It can write to the folders of its settings alone, which have to be there.

    Raises
    ------
    VegasError
        ``user`` is no user's name.
    """
    if user is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*\$?|[0-9]+", user):
        raise VegasError(f"--user {user!r} is no name of a user")
    verb = "superlink" if isinstance(settings, ServerSettings) else "supernode"
    what = f"SuperLink {settings.name}" if isinstance(settings, ServerSettings) else f"SuperNode {settings.node}"
    binary = Path(sys.executable).parent / "vegas-fl"
    return UNIT.format(
        file=settings.file,
        what=what,
        command=f"{_word(binary, command=True)} deploy {verb} {_word(settings.file, command=True)} --foreground",
        user=f"User={user}\n" if user else "",
        hub=_word(f"HF_HOME={settings.folder / 'huggingface'}"),
        paths="".join(f"ReadWritePaths={_word(folder)}\n" for folder in written(settings)),
    )


def written(settings: ServerSettings | NodeSettings) -> list[Path]:
    """The folders a machine's part writes to."""
    if isinstance(settings, ServerSettings):
        return [settings.folder]
    own = (settings.folder, settings.output_dir, settings.generators_dir, settings.cache_dir)
    return list(dict.fromkeys(folder for folder in own if folder))


def _word(value: Path | str, command: bool = False) -> str:
    """A word of a unit, whatever signs are in it; in the line of a ``command``, "$" is one of them."""
    text = str(value)
    if not text.isprintable():
        raise VegasError(f"{text!r} cannot be written into a unit; give the folder a plain name")
    for sign, escaped in {"\\": "\\\\", '"': '\\"', "%": "%%"}.items():
        text = text.replace(sign, escaped)
    text = text.replace("$", "$$") if command else text
    return text if re.fullmatch(r"[\w/.:@+=,-]+", text) else f'"{text}"'


def _mount(path: Path, read_only: bool = False) -> dict[str, str | bool]:
    """A folder or file at the same place in a container; of signs, the short form reads ":" and all read "$"."""
    return {"type": "bind", "source": _plain(path), "target": _plain(path), "read_only": read_only}


def _plain(value: Path) -> str:
    return str(value).replace("$", "$$")


def compose(machines: list[ServerSettings | NodeSettings]) -> str:
    """A compose file with a service a machine, for the image of deploy/Dockerfile.

    Folders keep their paths, so that the settings are read as they are. The certificate has to name the service,
    ``superlink``, as its host.

    Raises
    ------
    VegasError
        Two machines would have the same name.
    """
    services: dict[str, dict] = {}
    for settings in machines:
        server = isinstance(settings, ServerSettings)
        name = "superlink" if server else f"supernode-{settings.node}"  # type: ignore[union-attr]
        if name in services:
            raise VegasError(f"{settings.file}: there is a {name} already; give each machine its own number")
        volumes = [*(_mount(folder) for folder in written(settings)), _mount(settings.file, read_only=True)]
        if isinstance(settings, NodeSettings):
            read = [settings.ca, settings.data_root, *(Path(place) for place in settings.models.values() if place)]
            volumes += [_mount(path, read_only=True) for path in read if path]
        services[name] = {
            "image": IMAGE,
            "command": ["deploy", "superlink" if server else "supernode", _plain(settings.file), "--foreground"],
            "volumes": volumes,
            "restart": "on-failure",
            "stop_grace_period": "60s",
            "security_opt": ["no-new-privileges:true"],
        }
        if isinstance(settings, ServerSettings):
            services[name]["ports"] = [f"{settings.port}:{settings.port}"]
        elif any(isinstance(machine, ServerSettings) for machine in machines):
            services[name]["depends_on"] = ["superlink"]
        if isinstance(settings, NodeSettings) and settings.device.startswith("cuda"):
            devices = [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
            services[name]["deploy"] = {"resources": {"reservations": {"devices": devices}}}
    files = " ".join(str(machine.file) for machine in machines)
    head = f"# Made by `vegas-fl deploy compose {files if files.isprintable() else '…'}`.\n"
    return head + yaml.safe_dump({"services": services}, sort_keys=False, allow_unicode=True)
