"""Generators of the replaced system (``.pt``, ``.pth``) → generators of ours, where their architecture is known.

A file of weights shows the widths of the layers, not the functions between them: an MLP decoder can be rebuilt when
that function is given. Anything else is refused, with the reason.
"""

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vegas_fl.core.errors import VegasError, some
from vegas_fl.core.names import class_name_mistake, normal
from vegas_fl.storage.tensorfiles import State


@dataclass(frozen=True)
class Decoder:
    """An MLP decoder, its file and its owner."""

    origin: str  # the file, and the part of it that holds the decoder
    label: str  # its class
    owner: str  # the node that trained it
    widths: tuple[int, ...]  # of the layers; the first is that of the latent vector
    state: State  # weights, with the names of vegas_fl.algorithm.generators.mlp.MLPSampler
    note: str  # what was left out, or ""


def decoders(files: Sequence[Path], label: str | None) -> dict[str, list[Decoder]]:
    """All decoders in the files, by class; those of one class belong to different nodes. Without a ``label`` for all,
    classes are read from the names of files and states.

    Raises
    ------
    VegasError
        A file cannot be used, two have the same class and node, or those of one class differ in shape.
    """
    found: dict[str, list[Decoder]] = {}
    for path in files:
        for name, state in read(path).items():
            origin = f"{path}{f' ({name})' if name else ''}"
            widths, weights = decoder(state, origin)
            of = label or label_of(path, name)
            if of is None:
                raise VegasError(f"{origin}: the class is not part of the name; add --label CLASS")
            of = normal(of)
            if mistake := class_name_mistake(of):
                raise VegasError(f"{origin}: as the name of a class, {mistake}; or add --label CLASS")
            node = re.search(r"node[_-]?(\d+)", path.stem)
            note = "its upsampler to more tokens is left out" if any("upsampl" in key for key in state) else ""
            new = Decoder(origin, of, node[1] if node else "0", widths, weights, note)
            for other in found.setdefault(of, []):
                if other.owner == new.owner:
                    raise VegasError(
                        f"{other.origin} and {origin} both have class {of} and node {new.owner}; import the later one"
                    )
                if other.widths != widths:
                    raise VegasError(
                        f"{other.origin} and {origin} both have class {of}, but their layers differ: "
                        f"{list(other.widths)} and {list(widths)}; import one, or each into its own folder"
                    )
            found[of].append(new)
    return found


def read(path: Path) -> dict[str, State]:
    """The states in a file that have a decoder: name ("" if there is only one) → weights. Only weights are unpickled.

    Raises
    ------
    VegasError
        The file does not exist, is damaged, holds more than weights, or has no decoder.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise VegasError(f"{path} does not exist; expected a .pt or .pth file") from error
    except pickle.UnpicklingError as error:
        raise VegasError(
            f"{path} holds more than weights, so reading it could run arbitrary code; write only the weights with "
            "torch.save(model.state_dict(), path) and import that file"
        ) from error
    except Exception as error:  # damaged bytes make an unpickler raise anything
        why = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        raise VegasError(f"{path} cannot be read ({why}); expected a complete .pt or .pth file") from error
    if damaged := _damaged(path):
        raise VegasError(f"{path} is damaged (wrong checksum of {damaged}); copy it again")
    found = dict(_states(content, ""))
    if not found:
        raise VegasError(f"{path} holds no weights; expected the state_dict of a generator")
    usable = {name: state for name, state in found.items() if _decoding(state)}
    if not usable:
        seen = some(list(next(iter(found.values()))))
        raise VegasError(
            f"{path} has no decoder: its weights are {seen}; expected weights named decoder.… of a VAE over audio "
            "embeddings (not a GAN's generator or an adapter)"
        )
    return usable


def _damaged(path: Path) -> str | None:
    """The first part of a file with a wrong checksum, which torch does not check; older files have no checksums."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as parts:
        return parts.testzip()


def _states(content: Any, name: str) -> Iterator[tuple[str, State]]:
    """Dictionaries of tensors at any depth, but not those of optimisers; mere wrappers (state_dict, …) have no name."""
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
        It is not a plain MLP, or it is conditional.
    """
    parts = _decoding(state)
    if norms := [name for name in parts if name.endswith("running_mean")]:
        raise VegasError(f"{origin} has batch norms ({some(norms)}), whose position is not part of the weights")
    for name, tensor in parts.items():
        if tensor.layout != torch.strided or not tensor.is_floating_point():
            raise VegasError(f"{origin}: {name} is {tensor.dtype}, {tensor.layout}; expected a dense tensor of floats")
        if not tensor.isfinite().all():
            raise VegasError(f"{origin}: {name} has NaN or infinite values; its training failed, train it again")
    layers = [name.removesuffix(".weight") for name, t in parts.items() if name.endswith(".weight") and t.ndim == 2]
    known = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    if strange := [f"{name} {list(t.shape)}" for name, t in parts.items() if name not in known]:
        raise VegasError(
            f"{origin} is not an MLP: {some(strange)} is unexpected; train it again with stages=[generators]"
        )
    if lacking := sorted(known - set(parts)):
        raise VegasError(f"{origin} lacks {some(lacking)}; expected weight and bias of every layer")
    shapes = [parts[f"{layer}.weight"].shape for layer in layers]
    for before, after, layer in zip(shapes, shapes[1:], layers[1:], strict=False):
        if before[0] != after[1]:
            raise VegasError(
                f"{origin}: {layer} takes {after[1]} values, the layer before returns {before[0]}; expected a chain"
            )
    latent = _latent(state)
    if latent not in (None, shapes[0][1]):
        raise VegasError(
            f"{origin} is conditional: its decoder takes {shapes[0][1]} values, its latent vector has {latent}; the "
            "condition (embeddings of pictures or texts) is not in the file; train it again with stages=[generators]"
        )
    renamed = {
        f"layers.{i}.{kind}": parts[f"{layer}.{kind}"].float()
        for i, layer in enumerate(layers)
        for kind in ("weight", "bias")
    }
    return (int(shapes[0][1]), *(int(shape[0]) for shape in shapes)), renamed


def _latent(state: State) -> int | None:
    """Width of the latent vector, from the encoder's layer for the mean, or its last one for mean and log-variance;
    None without an encoder."""
    layers = {name: t for name, t in state.items() if name.endswith(".weight") and t.ndim == 2}
    for name, tensor in layers.items():
        if re.search(r"(^|[._])(mu|mean)[._]", name):
            return int(tensor.shape[0])
    encoding = [t for name, t in layers.items() if re.search(r"(^|\.)\w*enc", name)]
    return int(encoding[-1].shape[0]) // 2 if encoding else None


def label_of(path: Path, name: str) -> str | None:
    """The class of a file or state: "dog" for vae_perclass_round_10_dog.pth and vae_node0_class_dog_round_10.pt."""
    if name:
        return name
    found = re.fullmatch(r".*_class_(.+?)(_round_\d+)?", path.stem) or re.fullmatch(r".*_round_\d+_(.+)", path.stem)
    return found[1] if found else None
