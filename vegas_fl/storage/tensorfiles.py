"""Safetensors files with a checked header, written atomically."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically

FORMAT = 1
"""Version of the files' format; a file of another one is refused."""

State = dict[str, torch.Tensor]


class Damaged(VegasError):
    """A file is not as it was written."""


class TensorFile(NamedTuple):
    """Tensors by name, and the header that says what they are."""

    tensors: State
    header: dict[str, Any]


def save(path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any], *, durable: bool = True) -> str:
    """Write a file (:func:`write_atomically`). ``header`` (JSON values) gets the format's version, a hash of the
    tensors, which is returned, and one of all that (``seal``)."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    sha256 = digest(plain)
    entries = json.loads(json.dumps({"format": FORMAT, "sha256": sha256, **header}))  # as it will be read
    metadata = {"vegas_fl": json.dumps({**entries, "seal": _seal(entries)}, sort_keys=True)}
    write_atomically(path, to_bytes(plain, metadata=metadata), durable=durable)
    return sha256


def load(path: Path, **expected: Any) -> TensorFile:
    """Read a file and check it.

    Parameters
    ----------
    path : Path
    expected
        Header entries that must be as given; an entry the file does not have, or an expectation of None, is
        not compared.

    Raises
    ------
    VegasError
        The file is absent, damaged, of another format, or does not fit ``expected``.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("vegas_fl", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator there)
    except FileNotFoundError as error:
        raise VegasError(f"Checkpoint not found: {path}; run the step that trains it first") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise Damaged(f"{path} cannot be read ({error}); it is damaged, train it again") from error
    if header.get("format") != FORMAT:
        raise VegasError(
            f"{path} has checkpoint format {header.get('format')}, this version reads {FORMAT}; train it again"
        )
    if header["sha256"] != digest(tensors) or header.get("seal", _seal(header)) != _seal(header):
        raise Damaged(f"{path} is damaged: its content does not match its hash; train it again")
    for key, value in expected.items():
        if value is not None and header.get(key, value) != value:
            raise VegasError(
                f"{path} does not fit this run: its {key.replace('_', ' ')} is {header[key]!r}, needed is {value!r}; "
                "use the settings it was trained with, or train it again"
            )
    return TensorFile(tensors, header)


def load_header(path: Path) -> dict[str, Any]:
    """The header of a file alone.

    Raises
    ------
    VegasError
        The file is absent or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {}).get("vegas_fl", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise VegasError(f"{path} cannot be read ({error})") from error
    return header


def _seal(header: Mapping[str, Any]) -> str:
    """Hash of all other entries of a header."""
    entries = {key: value for key, value in header.items() if key != "seal"}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hash of names, shapes, types and values, whatever the order of the tensors."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def load_into(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], origin: str) -> None:
    """Load a state into ``module``, telling in one sentence what does not fit."""
    if problem := misfit(tensors, module.state_dict()):
        raise VegasError(
            f"{origin} does not fit the configured network: {problem}; use the settings it was trained with"
        )
    module.load_state_dict(dict(tensors))


def misfit(tensors: Mapping[str, torch.Tensor], like: Mapping[str, torch.Tensor]) -> str | None:
    """Why ``tensors`` cannot stand for ``like`` (keys, shapes, types, finite values), or None if they can."""
    if missing := sorted(set(like) - set(tensors)):
        return f"it lacks {', '.join(missing[:3])}" + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    if unknown := sorted(set(tensors) - set(like)):
        return f"it has the unknown {', '.join(unknown[:3])}"
    for name, tensor in tensors.items():
        wanted = like[name]
        if tensor.shape != wanted.shape:
            return f"{name} is {list(tensor.shape)}, needed is {list(wanted.shape)}"
        if tensor.dtype != wanted.dtype:
            return f"{name} is {tensor.dtype}, needed is {wanted.dtype}"
    if not math.isfinite(norm(tensors)):  # or too large for it: look closer
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                return f"{name} has values that are not finite"
    return None


def norm(tensors: Mapping[str, torch.Tensor]) -> float:
    """Euclidean norm of all numbers with a floating point together; not finite if one of them is not, or if it is too
    large for float32."""
    return torch.nn.utils.get_total_norm([tensor for tensor in tensors.values() if tensor.is_floating_point()]).item()
