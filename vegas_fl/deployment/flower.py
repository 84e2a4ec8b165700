"""The Flower side of a deployment: commands, their environment, and connections in config.toml."""

import http.client
import os
import ssl
import tomllib
from collections.abc import Iterable
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically
from vegas_fl.deployment.settings import NodeSettings, ServerSettings
from vegas_fl.engines import flower
from vegas_fl.engines.flower import quoted

POLL = "0.25"
"""Seconds between two polls of Flower's processes for work; its default is 1."""


def environment(settings: ServerSettings | NodeSettings) -> dict[str, str]:
    """Environment of the machine's process, with Flower's home in the machine's own folder."""
    own = {"FLWR_HOME": str(settings.folder / "flower"), "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": POLL}
    return flower.flower_environment() | own


def command(settings: ServerSettings | NodeSettings) -> list[str]:
    """The command that runs on the machine; the files that it reads are written. :class:`VegasError` if a key or
    certificate is missing."""
    if isinstance(settings, ServerSettings):
        files = {name: settings.folder / name for name in ("ca.crt", "server.crt", "server.key")}
        _needed(files.values(), "run vegas-fl deploy ca, then vegas-fl deploy certificate")
        return [
            *(flower.tool("flower-superlink"), "--host", settings.bind, "--port", str(settings.port)),
            *("--ssl-ca-certfile", str(files["ca.crt"]), "--ssl-certfile", str(files["server.crt"])),
            *("--ssl-keyfile", str(files["server.key"]), "--enable-supernode-auth"),
            *("--database", str(settings.folder / "state.db"), "--disable-runtime-dependency-installation"),
        ]
    _needed([settings.key], "run vegas-fl deploy key")
    _needed([settings.ca], "copy the server's ca.crt there (key ca of the node's settings)")
    node_config = settings.folder / "node-config.toml"
    lines = [f"{key} = {quoted(value)}\n" for key, value in settings.node_config.items()]
    write_atomically(node_config, "".join(lines).encode())
    return [
        *(flower.tool("flower-supernode"), "--superlink", settings.superlink, "--root-certificates", str(settings.ca)),
        *("--auth-supernode-private-key", str(settings.key), "--port", str(settings.own_port)),
        *("--node-config", str(node_config)),
    ]


def _needed(files: Iterable[Path], remedy: str) -> None:
    for file in files:
        if not file.is_file():
            raise VegasError(f"{file} is missing; {remedy}")


def connect(name: str, address: str, ca: Path) -> Path:
    """Add a connection to the config.toml in Flower's home ($FLWR_HOME, else ~/.flwr), unless it has it; its path.

    Raises
    ------
    VegasError
        A connection of this name leads elsewhere.
    """
    file = Path(os.environ.get("FLWR_HOME") or Path.home() / ".flwr") / "config.toml"
    wanted = _leads_to(address, ca)
    try:
        text = file.read_text("utf8") if file.is_file() else f"[superlink]\ndefault = {quoted(name)}\n"
        there = tomllib.loads(text).get("superlink", {}).get(name)
    except OSError as error:
        raise VegasError(f"{file} cannot be read ({error.strerror}); check its permissions") from error
    except (ValueError, AttributeError) as error:  # tomllib's errors are ValueErrors
        raise VegasError(f"{file} is not a Flower configuration in TOML ({error}); correct it") from error
    if there is None:
        write_atomically(file, f"{text.rstrip()}\n\n{_connection(name, wanted)}".lstrip().encode())
    elif there != wanted:
        raise VegasError(
            f"{file} has another connection {name} ({there}); change it to {wanted}, or give the deployment another "
            "name"
        )
    return file


def _leads_to(address: str, ca: Path) -> dict[str, str]:
    return {"address": address, "root-certificates": str(ca.absolute())}


def _connection(name: str, wanted: dict[str, str]) -> str:
    """A connection in TOML."""
    return f"[superlink.{quoted(name)}]\n" + "".join(f"{key} = {quoted(value)}\n" for key, value in wanted.items())


def register(settings: ServerSettings, keys: list[Path]) -> list[str]:
    """Let the nodes with these public keys take part; a sentence for each.

    Raises
    ------
    VegasError
        The SuperLink does not answer, or a file is not a public key.
    """
    sentences = []
    for key in keys:
        try:
            answer = _flwr(settings, ["supernode", "register", str(key), settings.name])
            sentences.append(f"{key}: registered as {answer['node-id']}")
        except VegasError as error:
            if "already in use" not in str(error):
                raise
            sentences.append(f"{key}: already registered")
    return sentences


def registered(settings: ServerSettings) -> list[dict[str, str]]:
    """The nodes registered at the SuperLink."""
    nodes: list[dict[str, str]] = _flwr(settings, ["supernode", "list", settings.name])["nodes"]
    return nodes


def _flwr(settings: ServerSettings, arguments: list[str]) -> dict:
    own = environment(settings)
    # On the machine itself the name that others use may lead elsewhere, so this file has the local address.
    home = Path(own["FLWR_HOME"])
    write_atomically(home / "config.toml", _connection(settings.name, _leads_to(settings.local, settings.ca)).encode())
    return flower.flwr([*arguments, "--format", "json"], own)


def health(address: str, ca: Path) -> http.client.HTTPMessage:
    """The headers of a SuperLink's answer over TLS, verified with ``ca``.

    Raises
    ------
    VegasError
        It does not answer, or ``ca`` did not sign its certificate.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca))
        with urlopen(f"https://{address}/health", timeout=5, context=context) as response:
            headers: http.client.HTTPMessage = response.headers
            return headers
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise VegasError(f"the SuperLink at {address} cannot be reached ({reason})") from error
