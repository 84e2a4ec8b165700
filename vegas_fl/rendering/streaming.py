"""Transformer blocks whose weights are in main memory and come to the device when they compute.

The copy of the next streamed block runs on a stream of its own while the current one computes. Streamed blocks lie
evenly among the resident ones, whose computing hides the copies. Copies in main memory are pinned once, if that leaves
enough of it to the machine.
"""

from collections.abc import Iterator
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

Slot = tuple[Any, str]
"""An object and the name of its attribute that holds a plain tensor."""
PINNED = 0.7
"""Largest share of the free main memory that is pinned: pinned pages cannot be swapped."""


class Streaming:
    """Streams blocks of ``model``: a share ``streamed`` of all blocks, by their bytes; the rest goes to ``device``.

    Quantised weights keep their scales and shapes; the tensors within them move.
    """

    def __init__(self, model: nn.Module, device: str, streamed: float) -> None:
        self._device = torch.empty(0, device=device).device  # with its number
        self._cuda = self._device.type == "cuda"
        self._stream = torch.cuda.Stream(self._device) if self._cuda else None
        blocks = [block for child in model.children() if isinstance(child, nn.ModuleList) for block in child]
        self._chosen = _spread(blocks, streamed)
        ours = {id(part) for block in self._chosen for part in block.modules()}
        chosen_bytes = sum(tensor.nbytes for block in self._chosen for _, tensor in _tensors(block))
        pin = self._cuda and chosen_bytes < PINNED * psutil.virtual_memory().available
        self._home = [self._stored(block, pin) for block in self._chosen]
        self._ready: dict[int, list[Tensor]] = {}
        self._copied: dict[int, Any] = {}
        for part in model.modules():
            if id(part) not in ours:  # each part's own tensors: those below may be streamed
                part._apply(lambda tensor: tensor.to(self._device), recurse=False)
        for position, block in enumerate(self._chosen):
            block.register_forward_pre_hook(self._before(position))
            block.register_forward_hook(self._after(position))

    def _stored(self, block: nn.Module, pin: bool) -> list[tuple[Slot, Tensor]]:
        """The tensors of a block in main memory, where it keeps them until it computes."""
        home = []
        for slot, tensor in _tensors(block):
            kept = tensor.detach().to("cpu")
            kept = kept.pin_memory() if pin else kept
            _put(slot, kept)
            home.append((slot, kept))
        return home

    def _fetch(self, position: int) -> None:
        """Start copying a block's tensors to the device."""
        if position in self._ready:
            return
        if not self._cuda:
            self._ready[position] = [kept.to(self._device) for _, kept in self._home[position]]
            return
        with torch.cuda.stream(self._stream):
            self._ready[position] = [kept.to(self._device, non_blocking=True) for _, kept in self._home[position]]
            self._copied[position] = torch.cuda.Event()
            self._copied[position].record(self._stream)

    def _before(self, position: int) -> Any:
        @torch.compiler.disable
        def hook(*arguments: Any) -> None:
            self._fetch(position)
            if self._cuda:
                current = torch.cuda.current_stream(self._device)
                current.wait_event(self._copied.pop(position))
                for copied in self._ready[position]:
                    copied.record_stream(current)  # its memory is not used again before the block has computed
            for (place, _), there in zip(self._home[position], self._ready.pop(position), strict=True):
                _put(place, there)
            if len(self._chosen) > 1:
                self._fetch((position + 1) % len(self._chosen))

        return hook

    def _after(self, position: int) -> Any:
        @torch.compiler.disable
        def hook(*arguments: Any) -> None:
            for place, kept in self._home[position]:
                _put(place, kept)

        return hook


def _spread(blocks: list[nn.Module], share: float) -> list[nn.Module]:
    """Blocks that hold at least ``share`` of all blocks' bytes, evenly spread."""
    sizes = [sum(tensor.nbytes for _, tensor in _tensors(block)) for block in blocks]
    total, taken, passed, chosen = sum(sizes), 0, 0, []
    for block, size in zip(blocks, sizes, strict=True):
        passed += size
        if taken < share * passed and taken < share * total:
            chosen.append(block)
            taken += size
    return chosen


def _tensors(module: nn.Module) -> Iterator[tuple[Slot, Tensor]]:
    """The plain tensors of a module's weights and buffers, those within quantised ones too."""
    for value in (*module.parameters(), *module.buffers()):
        yield from _within(value)


def _within(value: Any) -> Iterator[tuple[Slot, Tensor]]:
    if not is_traceable_wrapper_subclass(value):
        yield (value, "data"), value.data
        return
    for name in value.__tensor_flatten__()[0]:
        inner = getattr(value, name)
        if is_traceable_wrapper_subclass(inner):
            yield from _within(inner)
        else:
            yield (value, name), inner


def _put(slot: Slot, tensor: Tensor) -> None:
    setattr(*slot, tensor)
