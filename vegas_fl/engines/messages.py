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
from collections.abc import Mapping
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from vegas_fl.tensorfiles import State

DESCRIBE = "query.describe"
TRAIN_GENERATOR = "train.generator"
TRAIN_ADAPTER = "train.adapter"
EVALUATE = "evaluate.adapter"
EVALUATE_GENERATOR = "evaluate.generator"
GENERATE = "query.generate"


def pack(values: Mapping[str, Any], states: Mapping[str, State] | None = None, dtype: str = "float32") -> RecordDict:
    """Content of a message: ``values`` as JSON, each of ``states`` as an ArrayRecord.

    With ``dtype`` float16, floating point tensors travel in half precision, but one with numbers beyond its range
    (65504) as it is.
    """
    content = RecordDict({"values": ConfigRecord({"json": json.dumps(values)})})
    if "clips" in values:  # how Flower's own strategies name a reply's weight
        content["metrics"] = MetricRecord({"num-examples": values["clips"]})
    for name, state in (states or {}).items():
        content[name] = ArrayRecord({k: _half(t) if dtype == "float16" else t for k, t in state.items()})
    return content


def unpack(content: RecordDict) -> tuple[dict[str, Any], dict[str, State]]:
    """Values and tensors of a message; half precision is a way to travel alone."""
    values = json.loads(str(content.config_records["values"]["json"]))
    return values, {
        name: {k: t.float() if t.dtype == torch.float16 else t for k, t in record.to_torch_state_dict().items()}
        for name, record in content.array_records.items()
    }


def _half(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if torch.equal(half.isfinite(), tensor.isfinite()) else tensor
