"""Settings of the machines of a deployment: ``server.yaml`` for the one with the SuperLink, ``node.yaml`` for each with
a SuperNode. ``deploy/server.yaml`` and ``deploy/node.yaml`` explain the keys."""

import contextlib
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from vegas_fl.config import Allow
from vegas_fl.config.sections import Name, Section
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import parse_yaml, read_text
from vegas_fl.deployment.processes import Service

HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
OWN_PORTS = 9100
"""A SuperNode's own port, unless it is set, is this plus the node's number."""


def _matching(pattern: str, expected: str) -> AfterValidator:
    """A text that matches ``pattern``."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


def _name_or_address(value: str) -> str:
    if not re.fullmatch(HOST, value.removeprefix("*.")):
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(value))
        raise ValueError("expected a name (ASCII or xn--…) or an IP address")
    return value


def _listening(value: str) -> str:
    with contextlib.suppress(ValueError):
        return str(ipaddress.IPv4Address(value))
    raise ValueError("expected an IPv4 address of this machine, or 0.0.0.0 for all of them")


def _host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not re.fullmatch(HOST, host) or not re.fullmatch(r"\d{1,5}", port, re.ASCII) or not 1 <= int(port) <= 65535:
        raise ValueError("expected HOST:PORT, without https://")
    return value


def _anchored(value: Any, info: ValidationInfo) -> Any:
    """A path relative to the folder of the settings file."""
    try:
        return Path(info.context or "", Path(value).expanduser()) if isinstance(value, str) else value
    except RuntimeError as error:  # "~somebody"
        raise ValueError(f"{error}; write the folder out") from None


def _models(value: dict[str, str | None], info: ValidationInfo) -> dict[str, str | None]:
    anchored = {name: place if place is None else str(_anchored(place, info)) for name, place in value.items()}
    if odd := [text for pair in anchored.items() for text in pair if text and re.search(r"[,=]", text)]:
        raise ValueError(f"{odd[0]!r} has a ',' or '='")
    return anchored


Port = Annotated[int, Field(ge=1, le=65535)]
Days = Annotated[int, Field(ge=1, le=36500)]
Host = Annotated[str, _matching(HOST, "a name (ASCII or xn--…) or an IPv4 address, without https:// and port")]
Device = Annotated[str, _matching(r"auto|cpu|mps|cuda(:\d+)?", "auto, cpu, cuda, cuda:N or mps")]
Folder = Annotated[Path, BeforeValidator(_anchored)]


class MachineSettings(Section):
    """What the settings of the server and of a node have in common."""

    verb: ClassVar[str]
    """Command of ``vegas-fl deploy`` that starts the machine's process."""
    file: Path
    folder: Folder

    @property
    def written(self) -> list[Path]:
        """The folders that the machine's process writes to."""
        return [self.folder]


class ServerSettings(MachineSettings):
    """``server.yaml``."""

    verb = "superlink"
    name: Name = "vegas"
    host: Host
    names: Annotated[tuple[Annotated[str, AfterValidator(_name_or_address)], ...], Field(strict=False)] = ()
    bind: Annotated[str, AfterValidator(_listening)] = "0.0.0.0"
    port: Port = 9092
    certificate_days: Days = 365
    ca_days: Days = 3650

    @property
    def address(self) -> str:
        """Where nodes and users reach the SuperLink."""
        return f"{self.host}:{self.port}"

    @property
    def local_host(self) -> str:
        """Where this machine reaches it."""
        return "127.0.0.1" if ipaddress.IPv4Address(self.bind).is_unspecified else self.bind

    @property
    def local(self) -> str:
        """:attr:`local_host` and the port."""
        return f"{self.local_host}:{self.port}"

    @property
    def certified(self) -> tuple[str, ...]:
        """Names and addresses that its certificate has to have."""
        return tuple(dict.fromkeys((self.host, *self.names, self.local_host)))

    @property
    def ca(self) -> Path:
        """The CA's certificate: the one file that every node and user needs."""
        return self.folder / "ca.crt"

    @property
    def title(self) -> str:
        """Its name in messages."""
        return f"SuperLink {self.name}"

    @property
    def service(self) -> Service:
        """Its process."""
        return Service(self.folder, "superlink", (self.local_host, self.port))


class NodeSettings(MachineSettings):
    """``node.yaml``."""

    verb = "supernode"
    node: NonNegativeInt
    superlink: Annotated[str, AfterValidator(_host_and_port)]
    ca: Folder
    output_dir: Folder
    data_root: Folder | None = None
    generators_dir: Folder | None = None
    cache_dir: Folder | None = None
    models: Annotated[dict[str, str | None], AfterValidator(_models)] = Field(default_factory=dict)
    device: Device = "auto"
    port: Port | None = None
    allow: Allow | None = None

    @property
    def key(self) -> Path:
        """Its private key; the public one is beside it."""
        return self.folder / f"node_{self.node}"

    @property
    def own_port(self) -> int:
        """Loopback port on which the SuperNode talks to its own processes."""
        return self.port or OWN_PORTS + self.node

    @property
    def title(self) -> str:
        """Its name in messages."""
        return f"SuperNode {self.node}"

    @property
    def service(self) -> Service:
        """Its process."""
        return Service(self.folder, f"supernode_{self.node}", ("127.0.0.1", self.own_port))

    @property
    def written(self) -> list[Path]:
        own = (self.folder, self.output_dir, self.generators_dir, self.cache_dir)
        return list(dict.fromkeys(folder for folder in own if folder))

    @property
    def node_config(self) -> dict[str, str | int]:
        """What Flower calls ``--node-config``."""
        folders = {
            "data-root": self.data_root,
            "output-dir": self.output_dir,
            "generators-dir": self.generators_dir,
            "cache-dir": self.cache_dir,
        }
        models = ",".join(f"{name}={place}" if place else name for name, place in self.models.items())
        return {
            "partition-id": self.node,
            "device": self.device,
            **{key: str(folder) for key, folder in folders.items() if folder is not None},
            **({"models": models} if models else {}),
            **({"allow": self.allow.model_dump_json(exclude_unset=True)} if self.allow else {}),
        }

    @model_validator(mode="after")
    def _has_a_port(self) -> Self:
        if self.own_port > 65535:
            raise ValueError(f"port: required, as {OWN_PORTS} + node is not a port")
        return self


def read_settings(file: Path) -> ServerSettings | NodeSettings:
    """Read the settings of a machine; folders in them are relative to the file.

    Raises
    ------
    VegasError
        The file cannot be read, or has mistakes: all are listed.
    """
    try:
        values: Any = parse_yaml(read_text(file))
    except OSError as error:
        raise VegasError(
            f"{file} cannot be read ({error.strerror}); start from deploy/server.yaml or deploy/node.yaml"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"line {mark.line + 1}: {problem}" if mark else str(error).splitlines()[0]
        raise VegasError(f"{file} is not valid YAML ({where}); correct it") from error
    if not isinstance(values, dict):
        raise VegasError(f"{file} has no keys; start from deploy/server.yaml or deploy/node.yaml")
    values = {str(key): value for key, value in values.items()}
    a_node = any(key in values for key in ("node", "superlink", "output_dir"))
    kind: type[ServerSettings | NodeSettings] = NodeSettings if a_node else ServerSettings
    values.setdefault("folder", f"node_{values.get('node')}" if a_node else "server")
    if "file" in values:
        raise VegasError(f"{file} has mistakes:\n- file: unknown key; remove it")
    try:
        return kind.model_validate(values | {"file": file.absolute()}, context=file.absolute().parent)
    except ValidationError as error:
        sentences = "\n".join(f"- {sentence}" for sentence in _sentences(kind, error))
        raise VegasError(f"{file} has mistakes:\n{sentences}") from error


def read_server(file: Path) -> ServerSettings:
    """Read the settings of the server's machine."""
    settings = read_settings(file)
    if isinstance(settings, NodeSettings):
        raise VegasError(
            f"{file} has the settings of node {settings.node}, expected those of the server (deploy/server.yaml)"
        )
    return settings


def read_node(file: Path) -> NodeSettings:
    """Read the settings of a node's machine."""
    settings = read_settings(file)
    if isinstance(settings, ServerSettings):
        raise VegasError(f"{file} has the settings of the server, expected those of a node (deploy/node.yaml)")
    return settings


def _sentences(kind: type[Section], error: ValidationError) -> list[str]:
    known = ", ".join(key for key in kind.model_fields if key != "file")
    sentences = []
    for one in error.errors():
        key, message = ".".join(str(part) for part in one["loc"]), one["msg"].removeprefix("Value error, ")
        if one["type"] == "extra_forbidden":
            inner = ", ".join(Allow.model_fields) if key.startswith("allow.") else known
            sentences.append(f"{key}: unknown key, expected one of {inner}")
        elif one["type"] == "missing":
            sentences.append(f"{key}: required, but not set")
        else:
            sentences.append(f"{key}: {message}; got {one['input']!r}" if key else message)
    return sentences
