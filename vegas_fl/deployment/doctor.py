"""Whether a machine is ready for its part in a deployment; nothing is changed."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from vegas_fl.core import versions
from vegas_fl.core.errors import VegasError, some
from vegas_fl.core.files import nearest_existing
from vegas_fl.deployment import certificates, flower
from vegas_fl.deployment.processes import Service, described, listener, taken
from vegas_fl.deployment.settings import NodeSettings, ServerSettings

EXPIRES_SOON = 30.0
"""Days before the end of a certificate from which on it is a warning."""
CLOCK = 5.0
"""Seconds by which clocks may differ: Flower's tolerance for the signatures of nodes."""
DISK, LEAST_DISK = 2e9, 1e8
"""Bytes that should be free (checkpoints, pictures, Flower's database), and those without which no run can finish."""

NO_INSTALLS = "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"
"""Environment variable that keeps Flower from installing packages for each run."""

Verdict = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """What was checked, the verdict, and what was seen."""

    subject: str
    verdict: Verdict
    seen: str


def examine(settings: ServerSettings | NodeSettings) -> Iterator[Finding]:
    """Check the machine with these settings."""
    yield _attempt("versions", _versions)
    if difference := versions.difference():
        yield Finding("versions", "warning", difference)
    yield _installs()
    yield _attempt("pack", _pack)
    yield from _server(settings) if isinstance(settings, ServerSettings) else _node(settings)


def _server(settings: ServerSettings) -> Iterator[Finding]:
    yield from _server_keys(settings)
    yield _port(settings.service)
    yield from _superlink(settings)
    yield _folder("folder", settings.folder)


def _node(settings: NodeSettings) -> Iterator[Finding]:
    yield _expiry("CA", settings.ca)
    yield _attempt("key", lambda: _node_key(settings.key))
    yield _port(settings.service)
    yield from _reached(settings.superlink, settings.ca)
    if settings.data_root is None:
        yield Finding("data_root", "warning", "not set: the node has only synthetic recordings (data=toy)")
    else:
        yield _attempt("data_root", partial(_data, settings.data_root))
    for name, place in settings.models.items():
        yield _attempt("models", partial(_model, name, place))
    yield _attempt("device", lambda: _device(settings.device))
    yield from _slow(settings)
    for key in ("output_dir", "generators_dir", "cache_dir", "folder"):
        if folder := getattr(settings, key):
            yield _folder(key, folder)


def _attempt(subject: str, look: Callable[[], str]) -> Finding:
    """The result of ``look``; an error is a problem."""
    try:
        return Finding(subject, "ok", look())
    except (VegasError, OSError) as error:
        return Finding(subject, "problem", str(error))


def _versions() -> str:
    from packaging.requirements import Requirement

    found, odd = {}, []
    try:
        needed = [Requirement(text) for text in importlib.metadata.requires("vegas-fl") or []]
        own = importlib.metadata.version("vegas-fl")
    except (importlib.metadata.PackageNotFoundError, ValueError) as error:
        raise VegasError("vegas-fl is not installed; run pip install on the checkout") from error
    for one in needed:
        if one.marker is not None:
            continue
        try:
            found[one.name] = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            found[one.name] = "is missing"
        if found[one.name] == "is missing" or not one.specifier.contains(found[one.name], prereleases=True):
            odd.append(f"{one.name} {found[one.name]}, expected {one.name}{one.specifier}")
    shown = ", ".join(f"{name} {found[name]}" for name in ("flwr", "torch", "diffusers", "transformers"))
    seen = f"Python {platform.python_version()}, vegas-fl {own}, {shown}"
    if odd:
        raise VegasError(f"{seen}; {'; '.join(odd)}: run pip install on the checkout, the same on all machines")
    return seen


def _installs() -> Finding:
    """Whether a plain ``flwr run`` on this machine would install packages."""
    if os.environ.get(NO_INSTALLS) == "1":
        return Finding("flwr run", "ok", f"{NO_INSTALLS}=1")
    seen = (
        f"{NO_INSTALLS} is not set: where a plain `flwr run .` or `flower-superlink` starts a SuperLink, each run "
        "installs other versions of all packages; set it to 1 first (vegas-fl deploy and engine=flower do)"
    )
    return Finding("flwr run", "warning", seen)


def _pack() -> str:
    from vegas_fl.core.pack import model_folder

    return ", ".join(str(model_folder(part)) for part in ("yamnet", "flux", "clip"))


def _server_keys(settings: ServerSettings) -> Iterator[Finding]:
    yield _expiry("CA", settings.ca)
    yield _expiry("certificate", settings.folder / "server.crt")
    for key in (settings.folder / "ca.key", settings.folder / "server.key"):
        if key.is_file():
            yield _attempt("key", partial(_private, key))
    try:
        problem = certificates.mismatch(settings.folder)
        names = certificates.look_at(settings.folder / "server.crt").names
    except VegasError:  # reported with the expiry
        return
    if problem:
        yield Finding("certificate", "problem", problem)
    missing = [name for name in settings.certified if name not in names]
    if missing:
        yield Finding("certificate", "problem", f"it is not for {', '.join(missing)}; make it again with --renew")
    else:
        yield Finding("certificate", "ok", f"for {', '.join(names)}")


def _node_key(key: Path) -> str:
    if not os.path.lexists(key):
        raise VegasError(f"{key} is missing; run vegas-fl deploy key")
    if odd := certificates.odd_node_key(key):
        raise VegasError(odd)
    return _private(key)


def _expiry(name: str, file: Path) -> Finding:
    try:
        seen = certificates.look_at(file)
    except VegasError as error:
        return Finding(name, "problem", str(error))
    verdict: Verdict = "ok" if seen.days_left > EXPIRES_SOON else "warning" if seen.days_left > 0 else "problem"
    left = f"expires in {seen.days_left:.0f} days" if seen.days_left > 0 else f"expired {-seen.days_left:.0f} days ago"
    return Finding(name, verdict, f"{file} ({seen.fingerprint}) {left}")


def _private(key: Path) -> str:
    if stat.S_IMODE(key.stat().st_mode) & 0o077:
        raise VegasError(f"{key} can be read by others; run chmod 600 {key}")
    return f"{key}, readable only by its owner"


def _port(service: Service) -> Finding:
    address, process = service.address, service.process()
    assert address is not None
    port = address[1]
    if process is not None:
        verdict: Verdict = "ok" if taken(address) else "problem"
        return Finding("process", verdict, f"{service.name} runs (PID {process.pid}), log {service.log}")
    if not taken(address):
        return Finding("port", "ok", f"port {port} is free; {service.name} does not run")
    if _started_otherwise(holder := listener(port), service):
        return Finding("process", "ok", f"{service.name} runs, not started by vegas-fl deploy: {described(holder)}")
    seen = f"port {port} is taken by {described(holder)}; end that process, or set another port"
    return Finding("port", "problem", seen)


def _started_otherwise(holder: psutil.Process | None, service: Service) -> bool:
    """Whether a process is the service, started by systemd or a container."""
    with contextlib.suppress(psutil.Error):
        return holder is not None and any(word.startswith(f"{service.folder}{os.sep}") for word in holder.cmdline())
    return False


def _superlink(settings: ServerSettings) -> Iterator[Finding]:
    if settings.service.process() is None and not _started_otherwise(listener(settings.port), settings.service):
        return
    yield from _reached(settings.address, settings.ca)
    try:
        nodes = flower.registered(settings)
    except VegasError as error:
        yield Finding("nodes", "problem", str(error))
        return
    counts = Counter(node.get("status", "unknown") for node in nodes)
    seen = ", ".join(f"{count} {status}" for status, count in counts.items())
    yield Finding("nodes", "ok" if nodes else "warning", seen or "no node is registered; run vegas-fl deploy register")


def _reached(address: str, ca: Path) -> Iterator[Finding]:
    """Whether the SuperLink answers over TLS, and its clock agrees."""
    before = time.time()
    try:
        headers = flower.health(address, ca)
    except VegasError as error:
        yield Finding("superlink", "problem", str(error))
        return
    yield Finding("superlink", "ok", f"{address} answers, its certificate is signed by the CA")
    if date := headers.get("date"):
        # The header has whole seconds.
        theirs, middle = parsedate_to_datetime(date).timestamp() + 0.5, (before + time.time()) / 2
        differ = abs(theirs - middle)
        seen = f"differs from the SuperLink's by {max(0.0, differ - 0.5):.0f} s"
        if differ < CLOCK:
            yield Finding("clock", "ok", seen)
        else:
            remedy = f"Flower refuses nodes whose clock differs by more than {CLOCK:g} s: set it"
            yield Finding("clock", "problem", f"{seen}; {remedy}")


def _data(root: Path) -> str:
    try:
        entries = sorted((entry for entry in os.scandir(root) if entry.name[0] != "."), key=lambda entry: entry.name)
        closed = [entry.name for entry in entries if not os.access(entry, os.R_OK | (os.X_OK if entry.is_dir() else 0))]
    except OSError as error:
        raise VegasError(f"{root} cannot be read ({error.strerror})") from error
    if closed:
        raise VegasError(f"{root}: no permission to read {some(closed)}")
    if not entries:
        raise VegasError(f"{root} is empty")
    return f"{root}: {some([entry.name for entry in entries])}"


def _model(name: str, place: str | None) -> str:
    folder = Path(place or name).expanduser()
    if place and not folder.is_dir():
        raise VegasError(f"{name}: {place} is not a folder")
    return f"{name}: {folder if folder.is_dir() else 'from the hub'}"


def _device(name: str) -> str:
    import torch

    from vegas_fl.core.devices import cores, resolve_device

    device = resolve_device(name)
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        return f"{device}: {torch.cuda.get_device_name(device)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    return f"{device}, {cores()} CPU cores"


def _slow(settings: NodeSettings) -> Iterator[Finding]:
    """Models too large for a CPU, where the device is one."""
    from vegas_fl.config import compose
    from vegas_fl.core.devices import cpu_speed, resolve_device
    from vegas_fl.rendering import flux

    with contextlib.suppress(VegasError):  # the check of the device says it
        if resolve_device(settings.device) != "cpu":
            return
    for name, place in settings.models.items():
        folder = Path(place or name).expanduser()
        if (folder / "transformer" / "config.json").is_file():
            with contextlib.suppress(VegasError):  # a run says it
                renderer = compose(["renderer=flux_schnell"]).renderer.model_copy(update={"model": str(folder)})
                work = flux.work(renderer)
                if work.parameters > flux.LARGE:
                    minutes = work.operations / cpu_speed(renderer.dtype) / 60
                    seen = f"{name} has {work.parameters / 1e9:.1f} billion parameters, and the device is the CPU"
                    size = f"{renderer.height}x{renderer.width} in {renderer.steps} steps"
                    yield Finding("device", "warning", f"{seen}: a picture of {size} takes about {minutes:.1f} minutes")


def _folder(key: str, folder: Path) -> Finding:
    place = nearest_existing(folder)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        reason = f"{place} cannot be written to" if place.is_dir() else f"{place} is not a folder"
        return Finding(key, "problem", f"{folder} cannot be written: {reason}")
    free = shutil.disk_usage(place).free
    remedy = "" if free > DISK else f"; free at least {DISK / 1e9:g} GB"
    verdict: Verdict = "ok" if free > DISK else "warning" if free > LEAST_DISK else "problem"
    return Finding(key, verdict, f"{folder}, {free / 1e9:.2g} GB free{remedy}")
