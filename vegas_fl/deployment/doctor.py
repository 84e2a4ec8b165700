"""Whether a machine is ready for its part in a deployment; nothing is changed."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

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

Verdict = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """What was checked, the verdict, and what was seen."""

    subject: str
    verdict: Verdict
    seen: str


def examine(settings: ServerSettings | NodeSettings) -> Iterator[Finding]:
    """All findings of a machine."""
    yield from _versions()
    yield from _attempt("pack", _pack)
    if isinstance(settings, ServerSettings):
        yield from _server_keys(settings)
        yield from _port(settings.service)
        yield from _superlink(settings)
        folders = [("folder", settings.folder)]
    else:
        yield from _node_keys(settings)
        yield from _port(settings.service)
        yield from _reached(settings.superlink, settings.ca)
        yield from _data(settings)
        yield from _models(settings)
        yield from _attempt("device", lambda: _device(settings.device))
        own = {"output_dir": settings.output_dir, "generators_dir": settings.generators_dir}
        folders = [(k, f) for k, f in {**own, "cache_dir": settings.cache_dir, "folder": settings.folder}.items() if f]
    for key, folder in folders:
        yield from _folder(key, folder)


def _attempt(subject: str, look: Callable[[], str]) -> Iterator[Finding]:
    """The result of ``look``; an error is a problem."""
    try:
        yield Finding(subject, "ok", look())
    except (VegasError, OSError) as error:
        yield Finding(subject, "problem", str(error))


def _versions() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    found, odd = {}, []
    try:
        needed = [Requirement(text) for text in importlib.metadata.requires("vegas-fl") or []]
        own = importlib.metadata.version("vegas-fl")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        yield Finding("versions", "problem", "vegas-fl is not installed; run pip install on the checkout")
        return
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
    remedy = f"; {'; '.join(odd)}: run pip install on the checkout, the same on all machines" if odd else ""
    yield Finding("versions", "problem" if odd else "ok", seen + remedy)


def _pack() -> str:
    from vegas_fl.core.pack import model_folder

    return ", ".join(str(model_folder(part)) for part in ("yamnet", "flux", "clip"))


def _server_keys(settings: ServerSettings) -> Iterator[Finding]:
    for name, file in {"CA": settings.ca, "certificate": settings.folder / "server.crt"}.items():
        yield from _expiry(name, file)
    for key in (settings.folder / "ca.key", settings.folder / "server.key"):
        if key.is_file():
            yield from _private(key)
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


def _node_keys(settings: NodeSettings) -> Iterator[Finding]:
    yield from _expiry("CA", settings.ca)
    if not os.path.lexists(settings.key):
        yield Finding("key", "problem", f"{settings.key} is missing; run vegas-fl deploy key")
    elif odd := certificates.odd_node_key(settings.key):
        yield Finding("key", "problem", odd)
    else:
        yield from _private(settings.key)


def _expiry(name: str, file: Path) -> Iterator[Finding]:
    try:
        seen = certificates.look_at(file)
    except VegasError as error:
        yield Finding(name, "problem", str(error))
        return
    verdict: Verdict = "ok" if seen.days_left > EXPIRES_SOON else "warning" if seen.days_left > 0 else "problem"
    left = f"expires in {seen.days_left:.0f} days" if seen.days_left > 0 else f"expired {-seen.days_left:.0f} days ago"
    yield Finding(name, verdict, f"{file} ({seen.fingerprint}) {left}")


def _private(key: Path) -> Iterator[Finding]:
    if certificates.readable_by_others(key):
        yield Finding("key", "problem", f"{key} can be read by others; run chmod 600 {key}")
    else:
        yield Finding("key", "ok", f"{key}, readable only by its owner")


def _port(service: Service) -> Iterator[Finding]:
    address, process = service.address, service.process()
    assert address is not None
    port = address[1]
    if process is not None:
        verdict: Verdict = "ok" if taken(address) else "problem"
        yield Finding("process", verdict, f"{service.name} runs (PID {process.pid}), log {service.log}")
    elif not taken(address):
        yield Finding("port", "ok", f"port {port} is free; {service.name} does not run")
    elif _started_otherwise(holder := listener(port), service):
        yield Finding("process", "ok", f"{service.name} runs, not started by vegas-fl deploy: {described(holder)}")
    else:
        yield Finding(
            "port", "problem", f"port {port} is taken by {described(holder)}; end that process, or set another port"
        )


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


def _data(settings: NodeSettings) -> Iterator[Finding]:
    root = settings.data_root
    if root is None:
        yield Finding("data_root", "warning", "not set: the node has only synthetic recordings (data=toy)")
        return
    try:
        entries = sorted((entry for entry in os.scandir(root) if entry.name[0] != "."), key=lambda entry: entry.name)
        closed = [entry.name for entry in entries if not os.access(entry, os.R_OK | (os.X_OK if entry.is_dir() else 0))]
    except OSError as error:
        yield Finding("data_root", "problem", f"{root} cannot be read ({error.strerror})")
        return
    if closed:
        yield Finding("data_root", "problem", f"{root}: no permission to read {some(closed)}")
    else:
        seen = f"{root}: {some([entry.name for entry in entries])}" if entries else f"{root} is empty"
        yield Finding("data_root", "ok" if entries else "problem", seen)


def _models(settings: NodeSettings) -> Iterator[Finding]:
    for name, place in settings.models.items():
        folder = Path(place or name).expanduser()
        if place and not folder.is_dir():
            yield Finding("models", "problem", f"{name}: {place} is not a folder")
        else:
            yield Finding("models", "ok", f"{name}: {folder if folder.is_dir() else 'from the hub'}")


def _device(name: str) -> str:
    import torch

    from vegas_fl.core.devices import cores, resolve_device

    device = resolve_device(name)
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        return f"{device}: {torch.cuda.get_device_name(device)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    return f"{device}, {cores()} CPU cores"


def _folder(key: str, folder: Path) -> Iterator[Finding]:
    place = nearest_existing(folder)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        reason = f"{place} cannot be written to" if place.is_dir() else f"{place} is not a folder"
        yield Finding(key, "problem", f"{folder} cannot be written: {reason}")
        return
    free = shutil.disk_usage(place).free
    remedy = "" if free > DISK else f"; free at least {DISK / 1e9:g} GB"
    verdict: Verdict = "ok" if free > DISK else "warning" if free > LEAST_DISK else "problem"
    yield Finding(key, verdict, f"{folder}, {free / 1e9:.2g} GB free{remedy}")
