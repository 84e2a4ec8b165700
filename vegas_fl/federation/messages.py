"""What server and nodes say to each other.

| type | asks a node to | answer |
|---|---|---|
| ``query.describe`` | say what it holds | classes, clip counts, spaces, problems |
| ``train.generator`` | train a generator a class | ``generator.<class>``: decoder and prior |
| ``train.adapter`` | train the adapter from where it is | ``adapter`` |
| ``evaluate.adapter`` | judge ``candidate.<name>`` on its own unseen clips | confusion matrices, sums |
| ``evaluate.generator`` | compare ``generator.<class>`` with its own recordings | figures a class |
| ``query.generate`` | render its pictures | how many; what the judge saw |

A message carries values (JSON, so that they nest), and tensors by name. An answer ``{"problem": sentence}``
is a mistake the node understood; one that it did not is a Flower error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from vegas_fl.storage.tensorfiles import State

DESCRIBE = "query.describe"
TRAIN_GENERATOR = "train.generator"
TRAIN_ADAPTER = "train.adapter"
EVALUATE = "evaluate.adapter"
EVALUATE_GENERATOR = "evaluate.generator"
GENERATE = "query.generate"

LARGEST_HALF = torch.finfo(torch.float16).max


def pack(values: Mapping[str, Any], states: Mapping[str, State] | None = None, dtype: str = "float32") -> RecordDict:
    """Content of a message: ``values`` as JSON, each of ``states`` as an ArrayRecord of one array a
    kind of number.

    With ``dtype`` float16, floating point tensors travel in half precision, but one with numbers beyond its range
    (65504) as it is.
    """
    layout: dict[str, Any] = {}
    arrays: dict[str, ArrayRecord] = {}
    for name, state in (states or {}).items():
        sent = {key: _half(tensor) if dtype == "float16" else tensor for key, tensor in state.items()}
        layout[name] = [[key, _kind(tensor), list(tensor.shape)] for key, tensor in sent.items()]
        arrays[name] = ArrayRecord(_joined(sent))
    content = RecordDict({"values": ConfigRecord({"json": json.dumps(values), "layout": json.dumps(layout)})})
    if "clips" in values:  # how Flower's own strategies name a reply's weight
        content["metrics"] = MetricRecord({"num-examples": values["clips"]})
    content.update(arrays)
    return content


def unpack(content: RecordDict) -> tuple[dict[str, Any], dict[str, State]]:
    """Values and tensors of a message; half precision is a way to travel alone."""
    record = content.config_records["values"]
    values, layout = json.loads(str(record["json"])), json.loads(str(record["layout"]))
    return values, {
        name: _parted(content.array_records[name].to_torch_state_dict(), parts) for name, parts in layout.items()
    }


def _joined(state: State) -> State:
    """The numbers of a state, an array a kind of number: Flower sends each array with a request of its own, which over
    TLS takes longer than the numbers do."""
    kinds: dict[str, list[torch.Tensor]] = {}
    for tensor in state.values():
        kinds.setdefault(_kind(tensor), []).append(tensor.detach().cpu().reshape(-1))
    return {kind: torch.cat(parts) for kind, parts in kinds.items()}


def _parted(kinds: State, layout: list[tuple[str, str, list[int]]]) -> State:
    """What :func:`_joined` was given, half precision as float32."""
    state: State = {}
    done = dict.fromkeys(kinds, 0)
    for key, kind, shape in layout:
        start, done[kind] = done[kind], done[kind] + math.prod(shape)
        tensor = kinds[kind][start : done[kind]].reshape(shape)
        state[key] = tensor.float() if tensor.dtype == torch.float16 else tensor.clone()
    return state


def _kind(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _half(tensor: torch.Tensor) -> torch.Tensor:
    fits = tensor.is_floating_point() and (not tensor.numel() or bool(tensor.abs().max() <= LARGEST_HALF))
    return tensor.half() if fits else tensor
