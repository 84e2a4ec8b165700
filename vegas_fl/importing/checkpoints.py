"""Generators of the replaced system (``.pt``, ``.pth``) → generators of ours, where their architecture can be told.

A file of weights says how wide the layers are, not what happens between them: an MLP decoder can be rebuilt when the
function between its layers is given. Anything else is refused with what is missing.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vegas_fl.errors import VegasError, some
from vegas_fl.tensorfiles import State


@dataclass(frozen=True)
class Decoder:
    """An MLP decoder: widths, the first that of the latent vector; and weights named as
    :class:`vegas_fl.generators.mlp.MLPSampler` does."""

    widths: tuple[int, ...]
    state: State


def read(path: Path) -> dict[str, State]:
    """The states in a file: name ("" for a file of one) → weights. Nothing but weights is ever unpickled.

    Raises
    ------
    VegasError
        The file is not there, damaged, or holds more than weights.
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
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise VegasError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); is it a whole .pt or .pth file?"
        ) from error
    found = dict(_states(content, ""))
    if not found:
        raise VegasError(f"{path} holds no weights; needed is the state_dict of a generator")
    return found


def _states(content: Any, name: str) -> Iterator[tuple[str, State]]:
    """Dictionaries of tensors, however deep; those that only wrap (state_dict, …) have no name."""
    if not isinstance(content, Mapping):
        return
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield name, tensors
    for key, value in content.items():
        wraps = re.search(r"state|model|generator|vae|weights", str(key))
        yield from _states(value, name if wraps else str(key))


def decoder(state: State, origin: str) -> Decoder:
    """The decoder among the weights of a VAE.

    Raises
    ------
    VegasError
        There is none, or it is no plain MLP; what it has instead is told.
    """
    parts = {name: tensor for name, tensor in state.items() if re.search(r"(^|\.)\w*dec", name)}
    if not parts:
        raise VegasError(
            f"{origin} has no decoder: its weights are {some(list(state))}; needed are some named decoder.…"
        )
    if norms := [name for name in parts if name.endswith("running_mean")]:
        raise VegasError(f"{origin} has batch norms ({some(norms)}); where they stand cannot be told from weights")
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
    renamed = {
        f"layers.{i}.{kind}": parts[f"{layer}.{kind}"].float()
        for i, layer in enumerate(layers)
        for kind in ("weight", "bias")
    }
    return Decoder((int(shapes[0][1]), *(int(shape[0]) for shape in shapes)), renamed)


def label_of(path: Path, name: str) -> str | None:
    """The class a file or a state is of: "dog" of vae_perclass_round_10_dog.pth."""
    if name:
        return name
    found = re.fullmatch(r".*_round_\d+_(.+)", path.stem)
    return found[1] if found else None
