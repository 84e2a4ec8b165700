"""How models and tensors travel in Flower's messages: values as JSON, tensors as few large arrays."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from vegas_fl.core.errors import VegasError, explained
from vegas_fl.core.names import shown
from vegas_fl.storage.tensorfiles import State

LARGEST_HALF = torch.finfo(torch.float16).max
SCALE = "|scale"
"""Ends the names of the scales of matrices in 8 bits."""
LARGE_MATRIX = 2**18
"""Numbers from which on a matrix may travel in 8 bits; smaller tensors would save little."""

MOST_TEXT = 32 * 10**6
"""Characters of the JSON of one message; more is not parsed."""

MOST_PROBLEM = 10_000
"""Characters of the reason for which a node does not do what it is asked."""

R = TypeVar("R", bound=BaseModel)
_Size = Annotated[int, Field(ge=0, le=2**40)]
_LAYOUT = TypeAdapter(dict[str, list[tuple[str, str, Annotated[list[_Size], Field(max_length=8)]]]])


@dataclass(frozen=True)
class Reply(Generic[R]):
    """A node's valid reply: its values, and tensors by name."""

    values: R
    states: dict[str, State]


class Refused(VegasError):
    """A reply cannot be used; its text is the reason."""


class Missing(Refused):
    """There is no reply to judge: the node failed, is gone, or says that it cannot do what it is asked."""


Packed = Mapping[str, tuple[list[list[Any]], ArrayRecord]]
"""Tensors by name, ready to be sent: layout, and one array per dtype."""


def packed_states(
    states: Mapping[str, State], dtype: str = "float32"
) -> dict[str, tuple[list[list[Any]], ArrayRecord]]:
    """Each of ``states`` as an ArrayRecord; messages with the same tensors can share it.

    With ``dtype`` float16, float32 tensors travel in half precision, except those with numbers beyond its
    range (65504); with int8, large matrices among them as in :func:`quartered`.
    """
    packed = {}
    for name, state in states.items():
        sent = {"float16": halved, "int8": quartered}.get(dtype, dict)(state)
        layout = [[key, _kind(tensor), list(tensor.shape)] for key, tensor in sent.items()]
        packed[name] = layout, ArrayRecord(_joined(sent))
    return packed


def pack(
    values: Mapping[str, Any] | str,
    states: Mapping[str, State] | None = None,
    dtype: str = "float32",
    packed: Packed | None = None,
) -> RecordDict:
    """Content of a message: ``values`` as JSON (or to be), and tensors by name (``packed`` or to be)."""
    packed = packed_states(states or {}, dtype) if packed is None else packed
    layout = {name: parts for name, (parts, _) in packed.items()}
    text = values if isinstance(values, str) else json.dumps(values)
    content = RecordDict({"values": ConfigRecord({"json": text, "layout": json.dumps(layout)})})
    content.update({name: record for name, (_, record) in packed.items()})
    return content


def unpack(content: RecordDict) -> tuple[dict[str, Any], dict[str, State]]:
    """Values and tensors of a message; half precision and 8 bits become float32."""
    return json.loads(_text(content, "json")), _states(content)


def read(content: RecordDict, model: type[R]) -> Reply[R]:
    """A node's reply, if it is what ``model`` says.

    Raises
    ------
    Refused
        The node reports a problem, or its reply is not valid.
    """
    try:
        text = _text(content, "json")
        values = json.loads(text)
        if isinstance(values, dict) and "problem" in values:
            raise Missing("; ".join(map(shown, str(values["problem"])[:MOST_PROBLEM].splitlines())))
        return Reply(model.model_validate_json(text), _states(content))
    except ValidationError as error:
        raise Refused(f"invalid reply: {shown(explained(error))}") from error
    except Refused:
        raise
    except Exception as error:  # a broken node may put anything into a message
        raise Refused(f"unreadable reply ({type(error).__name__}: {shown(str(error)[:MOST_PROBLEM])})") from error


def _text(content: RecordDict, key: str) -> str:
    text = str(content.config_records["values"][key])
    if len(text) > MOST_TEXT:
        raise ValueError(f"expected at most {MOST_TEXT} characters of JSON, got {len(text)}")
    return text


def _states(content: RecordDict) -> dict[str, State]:
    layout = _LAYOUT.validate_json(_text(content, "layout"))
    return {name: _parted(content.array_records[name].to_torch_state_dict(), parts) for name, parts in layout.items()}


def _joined(state: State) -> State:
    """The numbers of a state, one array per dtype: Flower sends each array with a request of its own, which over TLS
    takes longer than the numbers do."""
    kinds: dict[str, list[torch.Tensor]] = {}
    for tensor in state.values():
        kinds.setdefault(_kind(tensor), []).append(tensor.detach().cpu().reshape(-1))
    return {kind: torch.cat(parts) for kind, parts in kinds.items()}


def _parted(kinds: State, layout: list[tuple[str, str, list[int]]]) -> State:
    """The inverse of :func:`_joined`; half precision and 8 bits become float32."""
    state: State = {}
    done = dict.fromkeys(kinds, 0)
    for key, kind, shape in layout:
        start, done[kind] = done[kind], done[kind] + math.prod(shape)
        tensor = kinds[kind][start : done[kind]].reshape(shape)
        state[key] = tensor.float() if tensor.dtype == torch.float16 else tensor.clone()
    for key in [key for key in state if key.endswith(SCALE)]:
        matrix = key.removesuffix(SCALE)
        state[matrix] = state[matrix] * state.pop(key)
    return state


def _kind(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def half(state: State) -> State:
    """A state as it arrives when it travels in half precision."""
    return {key: tensor.float() if tensor.dtype == torch.float16 else tensor for key, tensor in halved(state).items()}


def halved(state: State) -> State:
    """A state in half precision, as it travels; tensors with numbers beyond its range stay as they are."""

    def fits(tensor: torch.Tensor) -> bool:
        return tensor.dtype == torch.float32 and (not tensor.numel() or bool(tensor.abs().max() <= LARGEST_HALF))

    return {key: tensor.half() if fits(tensor) else tensor for key, tensor in state.items()}


def quartered(state: State) -> State:
    """A state with its large matrices in 8 bits, each row in units of its largest number / 127; the rest as in
    :func:`halved`."""
    sent: State = {}
    for key, tensor in state.items():
        if tensor.dtype != torch.float32 or tensor.ndim < 2 or tensor.numel() < LARGE_MATRIX:
            sent |= halved({key: tensor})
            continue
        sent[key + SCALE] = (tensor.abs().amax(-1, keepdim=True) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        sent[key] = (tensor / sent[key + SCALE]).round().to(torch.int8)
    return sent
