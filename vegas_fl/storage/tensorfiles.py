"""Safetensors files with a checked header, written atomically."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from vegas_fl.core.errors import VegasError, some
from vegas_fl.core.files import regular, write_atomically
from vegas_fl.core.modelfiles import seen

FORMAT = 1
"""Version of the file format; a file with another version is refused."""

State = dict[str, torch.Tensor]


class Damaged(VegasError):
    """The contents of a file changed after it was written."""


class TensorFile(NamedTuple):
    """Tensors by name, and the header that describes them."""

    tensors: State
    header: dict[str, Any]


def save(path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any], *, durable: bool = True) -> str:
    """Write a file atomically; returns the hash of its tensors.

    To the JSON values of ``header``, the format's version, that hash (``sha256``) and a hash of all other entries
    (``seal``) are added. If ``durable``, the file is on the disk afterwards and survives a power failure.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    sha256 = digest(plain)
    entries = json.loads(json.dumps({"format": FORMAT, "sha256": sha256, **header}))  # as it will be read
    metadata = {"vegas_fl": json.dumps({**entries, "seal": _seal(entries)}, sort_keys=True)}
    write_atomically(path, to_bytes(plain, metadata=metadata), durable=durable)
    return sha256


def load(path: Path, **expected: Any) -> TensorFile:
    """Read a file and check it. Its header entries must have the ``expected`` values; None, or an entry that the file
    does not have, is not compared.

    Raises
    ------
    VegasError
        If the file is not found, is damaged (:class:`Damaged`), has another format, or an entry is not as expected.
    """
    try:
        with safe_open(regular(path), framework="pt") as file:
            header = _header(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is not iterable)
    except FileNotFoundError as error:
        raise VegasError(f"Checkpoint not found: {path}; run the step that trains it first") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise Damaged(f"{path} cannot be read ({seen(path, error)}): it is damaged; train it again") from error
    if header.get("format") != FORMAT:
        raise VegasError(
            f"{path} has checkpoint format {header.get('format')}, expected {FORMAT}; train it again with this version"
        )
    if header.get("sha256") != digest(tensors) or header.get("seal", _seal(header)) != _seal(header):
        raise Damaged(f"{path} is damaged: its content does not match its hash; train it again")
    for key, value in expected.items():
        if value is not None and header.get(key, value) != value:
            raise VegasError(
                f"{path} does not fit this run: its {key.replace('_', ' ')} is {header[key]!r}, expected {value!r}; "
                "use the settings it was trained with, or train it again"
            )
    return TensorFile(tensors, header)


def load_header(path: Path) -> dict[str, Any]:
    """Read only the header of a file; the tensors' hash is not checked.

    Raises
    ------
    VegasError
        If the file cannot be read.
    """
    try:
        with safe_open(regular(path), framework="pt") as file:
            return _header(file.metadata())
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise Damaged(f"{path} cannot be read ({seen(path, error)})") from error


def _header(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """The header in a file's metadata; empty if there is none."""
    return TypeAdapter(dict[str, Any]).validate_json((metadata or {}).get("vegas_fl", "{}"))


def _seal(header: Mapping[str, Any]) -> str:
    """Hash of the header without its entry ``seal``."""
    entries = {key: value for key, value in header.items() if key != "seal"}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hash of names, types, shapes and values; independent of the order of the tensors."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def load_into(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], origin: str) -> None:
    """Load a state into ``module``; raise a VegasError that names ``origin`` and the reason if it does not fit."""
    if problem := misfit(tensors, module.state_dict()):
        raise VegasError(
            f"{origin} does not fit the configured network: {problem}; use the settings it was trained with"
        )
    module.load_state_dict(dict(tensors))


def misfit(tensors: Mapping[str, torch.Tensor], like: Mapping[str, torch.Tensor]) -> str | None:
    """Why ``tensors`` cannot replace ``like``: keys, shapes, types or values that are not finite. None if they can."""
    if missing := sorted(set(like) - set(tensors)):
        return f"it lacks {some(missing, 3)}"
    if unknown := sorted(set(tensors) - set(like)):
        return f"it has unexpected tensors: {', '.join(unknown[:3])}"
    for name, tensor in tensors.items():
        expected = like[name]
        if tensor.shape != expected.shape:
            return f"{name} has shape {list(tensor.shape)}, expected {list(expected.shape)}"
        if tensor.dtype != expected.dtype:
            return f"{name} has type {tensor.dtype}, expected {expected.dtype}"
    if not math.isfinite(norm(tensors)):  # or it is too large for float32: check each tensor
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                return f"{name} has values that are not finite"
    return None


def norm(tensors: Mapping[str, torch.Tensor]) -> float:
    """Euclidean norm of all floating-point tensors together; not finite if one value is not, or if the norm itself
    exceeds float32."""
    return torch.nn.utils.get_total_norm([tensor for tensor in tensors.values() if tensor.is_floating_point()]).item()
