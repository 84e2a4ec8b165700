"""systemd units and a compose file, from the same settings as the commands."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from vegas_fl.core.errors import VegasError
from vegas_fl.deployment.settings import NodeSettings, ServerSettings

UNIT = """\
# Made by `vegas-fl deploy units {file}`.
[Unit]
Description=vegas-fl: {title}
Wants=network-online.target{driver}
After=network-online.target time-sync.target{driver}

[Service]
ExecStart={command}
{user}Environment={hub}
Restart=on-failure
RestartSec=10
TimeoutStopSec=60
# The app that a run brings is code: what it may touch is set here, not by the app.
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
GPU_IMAGE = "vegas-fl-gpu"
"""Name of the one that deploy/Dockerfile.gpu builds, for nodes whose device is auto or cuda."""


def unit_name(settings: ServerSettings | NodeSettings) -> str:
    """File name of a machine's unit."""
    name = settings.name if isinstance(settings, ServerSettings) else settings.node
    return f"vegas-{settings.verb}-{name}.service"


def unit(settings: ServerSettings | NodeSettings, user: str | None) -> str:
    """A systemd unit that starts a machine's process with the machine, and again after a failure.

    The process can write only to the folders of its settings, which have to exist. :class:`VegasError` if ``user`` is
    not a valid name.
    """
    if user is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*\$?|[0-9]+", user):
        raise VegasError(f"--user {user!r} is not a valid user name")
    binary = Path(sys.executable).parent / "vegas-fl"
    command = f"{_word(binary, command=True)} deploy {settings.verb} {_word(settings.file, command=True)} --foreground"
    return UNIT.format(
        file=settings.file,
        title=settings.title,
        command=command,
        user=f"User={user}\n" if user else "",
        # A process that starts before the driver would find no GPU.
        driver=" nvidia-persistenced.service" if _wants_gpu(settings) else "",
        hub=_word(f"HF_HOME={hub_folder(settings)}"),
        paths="".join(f"ReadWritePaths={_word(folder)}\n" for folder in _written(settings)),
    )


def _wants_gpu(settings: ServerSettings | NodeSettings) -> bool:
    """Whether a machine's process may compute on a GPU."""
    return isinstance(settings, NodeSettings) and (settings.device == "auto" or settings.device.startswith("cuda"))


def hub_folder(settings: ServerSettings | NodeSettings) -> Path:
    """Where a machine's process finds and keeps models of the hub: for a node that uses some, the user's HF_HOME, where
    they may be already, with the token for gated ones; else, or if the user has none, a folder of its own."""
    if isinstance(settings, NodeSettings) and None in settings.models.values():
        own = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser().absolute()
        if own.is_dir():
            return own
    return settings.folder / "huggingface"


def _written(settings: ServerSettings | NodeSettings) -> list[Path]:
    """The folders that a machine's process writes to; the one for models of the hub is among them, or within one."""
    hub = hub_folder(settings)
    return [*settings.written, *([] if hub.is_relative_to(settings.folder) else [hub])]


def _word(value: Path | str, command: bool = False) -> str:
    """A word of a unit, with special characters escaped; "$" is special only in the line of a ``command``."""
    text = str(value)
    if not text.isprintable():
        raise VegasError(f"{text!r} cannot be written into a unit; give the folder a plain name")
    for sign, escaped in {"\\": "\\\\", '"': '\\"', "%": "%%"}.items():
        text = text.replace(sign, escaped)
    text = text.replace("$", "$$") if command else text
    return text if re.fullmatch(r"[\w/.:@+=,-]+", text) else f'"{text}"'


def compose(machines: list[ServerSettings | NodeSettings]) -> str:
    """A compose file with a service per machine, for the image of deploy/Dockerfile.

    Folders keep their paths, so the settings need no change. The certificate has to name the service, ``superlink``,
    as its host. :class:`VegasError` if two machines would have the same name.
    """
    services: dict[str, dict] = {}
    for settings in machines:
        name = "superlink" if isinstance(settings, ServerSettings) else f"supernode-{settings.node}"
        if name in services:
            raise VegasError(f"{settings.file}: {name} appears twice; give each machine its own number")
        services[name] = _service(settings)
        if isinstance(settings, NodeSettings) and any(isinstance(machine, ServerSettings) for machine in machines):
            services[name]["depends_on"] = ["superlink"]
    files = " ".join(str(machine.file) for machine in machines)
    head = f"# Made by `vegas-fl deploy compose {files if files.isprintable() else '…'}`.\n"
    return head + yaml.safe_dump({"services": services}, sort_keys=False, allow_unicode=True)


def _service(settings: ServerSettings | NodeSettings) -> dict[str, Any]:
    """A machine's service in the compose file."""
    volumes = [*(_mount(folder) for folder in _written(settings)), _mount(settings.file, read_only=True)]
    service: dict[str, Any] = {
        "image": IMAGE,
        "command": ["deploy", settings.verb, _plain(settings.file), "--foreground"],
        "volumes": volumes,
        "restart": "on-failure",
        "stop_grace_period": "60s",
        "security_opt": ["no-new-privileges:true"],
    }
    if isinstance(settings, ServerSettings):
        return service | {"ports": [f"{settings.port}:{settings.port}"]}
    read = [settings.ca, settings.data_root, *(Path(place) for place in settings.models.values() if place)]
    volumes += [_mount(path, read_only=True) for path in read if path]
    service["environment"] = {"HF_HOME": _plain(hub_folder(settings))}
    if _wants_gpu(settings):
        service["image"] = GPU_IMAGE
        devices = [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
        service["deploy"] = {"resources": {"reservations": {"devices": devices}}}
    return service


def _mount(path: Path, read_only: bool = False) -> dict[str, str | bool]:
    """A folder or file at the same place in a container; the long form, as the short one splits paths at ":"."""
    return {"type": "bind", "source": _plain(path), "target": _plain(path), "read_only": read_only}


def _plain(value: Path) -> str:
    """A path with "$" escaped."""
    return str(value).replace("$", "$$")
