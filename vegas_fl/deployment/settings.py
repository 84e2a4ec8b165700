"""What a machine of a deployment is told: ``server.yaml`` of the one with the SuperLink, ``node.yaml`` of each with a
SuperNode. Keys are explained in ``deploy/server.yaml`` and ``deploy/node.yaml``."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, NonNegativeInt, ValidationError, field_validator, model_validator

from vegas_fl.config.sections import Name, Section
from vegas_fl.core.errors import VegasError

Port = Annotated[int, Field(ge=1, le=65535)]
Days = Annotated[int, Field(ge=1, le=36500)]

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
OWN_PORTS = 9100
"""A SuperNode's own port, unless it is set, is this and the node's number."""


class ServerSettings(Section):
    """``server.yaml``."""

    file: Path
    name: Name = "vegas"
    host: str
    names: tuple[str, ...] = ()
    bind: str = "0.0.0.0"
    port: Port = 9092
    folder: Path = Path("server")
    certificate_days: Days = 365
    ca_days: Days = 3650

    @property
    def address(self) -> str:
        """Where nodes and users reach the SuperLink."""
        return f"{self.host}:{self.port}"

    @property
    def local(self) -> str:
        """Where this machine reaches it."""
        everywhere = ipaddress.IPv4Address(self.bind).is_unspecified
        return f"{'127.0.0.1' if everywhere else self.bind}:{self.port}"

    @property
    def certified(self) -> tuple[str, ...]:
        """What its certificate is for."""
        return tuple(dict.fromkeys((self.host, *self.names, self.local.partition(":")[0])))

    @property
    def ca(self) -> Path:
        """The CA's certificate: the one file that every node and user needs."""
        return self.folder / "ca.crt"

    @property
    def process(self) -> str:
        """Name of its process."""
        return "superlink"

    @field_validator("host")
    @classmethod
    def _plain_host(cls, value: str) -> str:
        if not HOST.fullmatch(value):
            raise ValueError("needed is a name (in ASCII, else as xn--…) or an IPv4 address, without https:// and port")
        return value

    @field_validator("bind")
    @classmethod
    def _an_address(cls, value: str) -> str:
        try:
            return str(ipaddress.IPv4Address(value))
        except ValueError:
            raise ValueError("needed is an IPv4 address of this machine, or 0.0.0.0 for all of them") from None

    @field_validator("names")
    @classmethod
    def _names_or_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not HOST.fullmatch(name.removeprefix("*.")):
                try:
                    ipaddress.ip_address(name)
                except ValueError:
                    raise ValueError(f"{name!r} is neither a name (in ASCII, else as xn--…) nor an address") from None
        return value


class NodeSettings(Section):
    """``node.yaml``."""

    file: Path
    node: NonNegativeInt
    superlink: str
    ca: Path
    folder: Path
    output_dir: Path
    data_root: Path | None = None
    generators_dir: Path | None = None
    cache_dir: Path | None = None
    models: dict[str, str | None] = Field(default_factory=dict)
    device: str = "auto"
    port: Port | None = None

    @property
    def key(self) -> Path:
        """Its private key; the public one is beside it."""
        return self.folder / f"node_{self.node}"

    @property
    def own_port(self) -> int:
        """Loopback port on which the SuperNode talks to its own processes."""
        return self.port or OWN_PORTS + self.node

    @property
    def process(self) -> str:
        """Name of its process."""
        return f"supernode_{self.node}"

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
        }

    @field_validator("superlink")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not HOST.fullmatch(host) or not re.fullmatch(r"\d{1,5}", port, re.ASCII) or not 1 <= int(port) <= 65535:
            raise ValueError("needed is HOST:PORT, without https://")
        return value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
            raise ValueError("needed is auto, cpu, cuda, cuda:N or mps")
        return value

    @model_validator(mode="after")
    def _has_a_port(self) -> NodeSettings:
        if self.own_port > 65535:
            raise ValueError(f"port: has to be set, as {OWN_PORTS} + node is none")
        return self

    @field_validator("models")
    @classmethod
    def _plain_names(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        if odd := [text for pair in value.items() for text in pair if text and re.search(r"[,=]", text)]:
            raise ValueError(f"{odd[0]!r} has a ',' or '='")
        return value


FOLDERS = ("folder", "ca", "output_dir", "data_root", "generators_dir", "cache_dir")


def read_settings(file: Path) -> ServerSettings | NodeSettings:
    """Read a machine's settings; folders in them are relative to the file.

    Raises
    ------
    VegasError
        The file cannot be read, or has mistakes: all are told.
    """
    try:
        values: Any = yaml.safe_load(file.read_text("utf8"))
    except OSError as error:
        raise VegasError(
            f"{file} cannot be read ({error.strerror}); start from deploy/server.yaml or node.yaml"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"line {mark.line + 1}: {problem}" if mark else str(error).splitlines()[0]
        raise VegasError(f"{file} is no YAML ({where}); repair it") from error
    if not isinstance(values, dict):
        raise VegasError(f"{file} holds no keys; start from deploy/server.yaml or deploy/node.yaml")
    values = {str(key): value for key, value in values.items()}
    place = file.absolute().parent
    try:
        for key in FOLDERS:
            if isinstance(values.get(key), str):
                values[key] = place / Path(values[key]).expanduser()
        if isinstance(models := values.get("models"), dict):
            values["models"] = {
                k: str(place / Path(v).expanduser()) if isinstance(v, str) else v for k, v in models.items()
            }
    except RuntimeError as error:  # "~somebody"
        raise VegasError(f"{file} names the home of a user who is not there ({error}); write the folder out") from error
    ours = any(key in values for key in ("node", "superlink", "output_dir"))
    kind: type[ServerSettings | NodeSettings] = NodeSettings if ours else ServerSettings
    values.setdefault("folder", place / (f"node_{values.get('node')}" if ours else "server"))
    if isinstance(names := values.get("names"), list):
        values["names"] = tuple(names)
    if "file" in values:
        raise VegasError(f"{file} has mistakes:\n- file: there is no such key; take it away")
    try:
        return kind(**values, file=file.absolute())
    except ValidationError as error:
        raise VegasError(
            f"{file} has mistakes:\n" + "\n".join(f"- {told}" for told in _sentences(kind, error))
        ) from error


def read_server(file: Path) -> ServerSettings:
    """Settings of the server's machine."""
    settings = read_settings(file)
    if isinstance(settings, NodeSettings):
        raise VegasError(
            f"{file} are the settings of node {settings.node}; needed are the server's (deploy/server.yaml)"
        )
    return settings


def read_node(file: Path) -> NodeSettings:
    """Settings of a node's machine."""
    settings = read_settings(file)
    if isinstance(settings, ServerSettings):
        raise VegasError(f"{file} are the settings of the server; needed are a node's (deploy/node.yaml)")
    return settings


def _sentences(kind: type[Section], error: ValidationError) -> list[str]:
    known = ", ".join(key for key in kind.model_fields if key != "file")
    told = []
    for one in error.errors():
        key = ".".join(str(part) for part in one["loc"])
        if one["type"] == "extra_forbidden":
            told.append(f"{key}: there is no such key; there are {known}")
        elif one["type"] == "missing":
            told.append(f"{key}: required, but not set")
        elif not key:
            told.append(one["msg"].removeprefix("Value error, "))
        else:
            told.append(f"{key}: {one['msg'].removeprefix('Value error, ')}; got {one['input']!r}")
    return told
