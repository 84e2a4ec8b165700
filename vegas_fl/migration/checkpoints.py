"""Generators of the replaced system (``.pt``, ``.pth``) → generators of ours, where their architecture can be told.

A file of weights says how wide the layers are, not what happens between them: an MLP decoder can be rebuilt when the
function between its layers is given. Anything else is refused with what is missing.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vegas_fl.config import CLASS_NAME
from vegas_fl.core.errors import VegasError, some
from vegas_fl.storage.tensorfiles import State


@dataclass(frozen=True)
class Decoder:
    """An MLP decoder, where it was found, and whose it is.

    Attributes
    ----------
    origin : str
        The file, and the part of it.
    label, owner : str
        Its class, and the node that trained it.
    widths : tuple of int
        The first is that of the latent vector.
    state : dict
        Weights named as :class:`vegas_fl.algorithm.generators.mlp.MLPSampler` does.
    note : str
        What was left out, or "".
    """

    origin: str
    label: str
    owner: str
    widths: tuple[int, ...]
    state: State
    note: str


def decoders(files: Sequence[Path], label: str | None) -> dict[str, list[Decoder]]:
    """All decoders in the files, by class; those of one class are of different nodes.

    Parameters
    ----------
    files : sequence of Path
    label : str or None
        Class of all of them; None: as the names say.

    Raises
    ------
    VegasError
        A file cannot be used, or two are of the same class and node, or those of a class differ in shape.
    """
    found: dict[str, list[Decoder]] = {}
    for path in files:
        for name, state in read(path).items():
            origin = f"{path}{f' ({name})' if name else ''}"
            widths, weights = decoder(state, origin)
            of = label or label_of(path, name)
            if of is None:
                raise VegasError(f"{origin}: the class cannot be told from the name; add --label CLASS")
            if not CLASS_NAME.fullmatch(of):  # it becomes part of a file's name
                raise VegasError(f"{origin}: {of!r} cannot be a class's name; add --label CLASS")
            node = re.search(r"node[_-]?(\d+)", path.stem)
            note = "its upsampler to more tokens is left out" if any("upsampl" in key for key in state) else ""
            new = Decoder(origin, of, node[1] if node else "0", widths, weights, note)
            for other in found.setdefault(of, []):
                if other.owner == new.owner:
                    raise VegasError(
                        f"{other.origin} and {origin} are both of class {of} and node {new.owner}; import the later one"
                    )
                if other.widths != widths:
                    raise VegasError(
                        f"{other.origin} and {origin} are both of class {of}, but their layers differ: "
                        f"{list(other.widths)} and {list(widths)}; import one, or each into a folder of its own"
                    )
            found[of].append(new)
    return found


def read(path: Path) -> dict[str, State]:
    """The states in a file that have a decoder: name ("" for a file of one) → weights. Nothing but weights is ever
    unpickled.

    Raises
    ------
    VegasError
        The file is not there, damaged, or holds more than weights, or no decoder.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise VegasError(f"{path} does not exist; give the path of a .pt or .pth file") from error
    except pickle.UnpicklingError as error:
        raise VegasError(
            f"{path} holds more than weights, which could run anything when it is read; save "
            "torch.save(model.state_dict(), path) there and import that"
        ) from error
    except Exception as error:  # whatever bytes make an unpickler stumble over, none of them is ours to raise
        why = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        raise VegasError(f"{path} cannot be read ({why}); is it a whole .pt or .pth file?") from error
    if damaged := _damaged(path):
        raise VegasError(f"{path} is damaged ({damaged} is not what was written); copy it again")
    found = dict(_states(content, ""))
    if not found:
        raise VegasError(f"{path} holds no weights; needed is the state_dict of a generator")
    usable = {name: state for name, state in found.items() if _decoding(state)}
    if not usable:
        seen = some(list(next(iter(found.values()))))
        raise VegasError(
            f"{path} has no decoder: its weights are {seen}; needed are some named decoder.…, of a VAE over audio "
            "embeddings (a GAN's generator or an adapter cannot stand in for one)"
        )
    return usable


def _damaged(path: Path) -> str | None:
    """The first part of a file whose checksum is wrong, which torch does not look at; older files have none."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as parts:
        return parts.testzip()


def _states(content: Any, name: str) -> Iterator[tuple[str, State]]:
    """Dictionaries of tensors, however deep; those that only wrap (state_dict, …) have no name. Those of optimisers
    are no weights."""
    if not isinstance(content, Mapping):
        return
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield name, tensors
    for key, value in content.items():
        if not re.search(r"optim|sched", str(key)):
            wraps = re.search(r"state|model|generator|vae|weights", str(key))
            yield from _states(value, name if wraps else str(key))


def _decoding(state: State) -> State:
    """The weights of the decoder."""
    return {name: tensor for name, tensor in state.items() if re.search(r"(^|\.)\w*dec", name)}


def decoder(state: State, origin: str) -> tuple[tuple[int, ...], State]:
    """Widths and weights of the decoder of a VAE.

    Raises
    ------
    VegasError
        It is no plain MLP, or draws under a condition; what it has instead is told.
    """
    parts = _decoding(state)
    if norms := [name for name in parts if name.endswith("running_mean")]:
        raise VegasError(f"{origin} has batch norms ({some(norms)}); where they stand cannot be told from weights")
    for name, tensor in parts.items():
        if tensor.layout != torch.strided or not tensor.is_floating_point():
            raise VegasError(f"{origin}: {name} is {tensor.dtype}, {tensor.layout}; needed are plain floats")
        if not tensor.isfinite().all():
            raise VegasError(
                f"{origin}: {name} has values that are NaN or infinite; its training failed, train it again"
            )
    layers = [name.removesuffix(".weight") for name, t in parts.items() if name.endswith(".weight") and t.ndim == 2]
    known = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    if strange := [f"{name} {list(t.shape)}" for name, t in parts.items() if name not in known]:
        raise VegasError(
            f"{origin} is no MLP: {some(strange)} cannot be placed; train it again with stages=[generators]"
        )
    if lacking := sorted(known - set(parts)):
        raise VegasError(f"{origin} lacks {some(lacking)}; needed are weight and bias of every layer")
    shapes = [parts[f"{layer}.weight"].shape for layer in layers]
    for before, after, layer in zip(shapes, shapes[1:], layers[1:], strict=False):
        if before[0] != after[1]:
            raise VegasError(
                f"{origin}: {layer} takes {after[1]} values, the layer before gives {before[0]}; no plain chain"
            )
    latent = _latent(state)
    if latent not in (None, shapes[0][1]):
        raise VegasError(
            f"{origin} draws under a condition: its decoder takes {shapes[0][1]} values, its latent has {latent}; the "
            "condition (embeddings of pictures or texts) is not in the file; train it again with stages=[generators]"
        )
    renamed = {
        f"layers.{i}.{kind}": parts[f"{layer}.{kind}"].float()
        for i, layer in enumerate(layers)
        for kind in ("weight", "bias")
    }
    return (int(shapes[0][1]), *(int(shape[0]) for shape in shapes)), renamed


def _latent(state: State) -> int | None:
    """Width of the latent vector, as the encoder tells it: by a layer for its mean, or by a last one for mean and
    log-variance; None without an encoder."""
    layers = {name: t for name, t in state.items() if name.endswith(".weight") and t.ndim == 2}
    for name, tensor in layers.items():
        if re.search(r"(^|[._])(mu|mean)[._]", name):
            return int(tensor.shape[0])
    encoding = [t for name, t in layers.items() if re.search(r"(^|\.)\w*enc", name)]
    return int(encoding[-1].shape[0]) // 2 if encoding else None


def label_of(path: Path, name: str) -> str | None:
    """The class a file or a state is of: "dog" of vae_perclass_round_10_dog.pth and vae_node0_class_dog_round_10.pt."""
    if name:
        return name
    found = re.fullmatch(r".*_class_(.+?)(_round_\d+)?", path.stem) or re.fullmatch(r".*_round_\d+_(.+)", path.stem)
    return found[1] if found else None
