"""The adapter that a node sent last, kept on the node so that it need not be sent back to be evaluated."""

from pathlib import Path

from clients.node import Node
from vegas_fl.core.errors import VegasError
from vegas_fl.federation.wire import half, halved
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.tensorfiles import State

KIND = "sent adapter"


def keep(node: Node, state: State) -> None:
    """Keep an adapter as it travels, in place of the previous one."""
    if node.config.compares_local and node.config.evaluation.split != "none":
        tensorfiles.save(_path(node), halved(state), {"kind": KIND}, durable=False)


def recalled(node: Node, sha256: str) -> State | None:
    """The adapter with this hash (of :func:`~vegas_fl.storage.tensorfiles.digest`); None if another or none is kept."""
    try:
        state = half(tensorfiles.load(_path(node), kind=KIND).tensors)
    except VegasError:
        return None
    return state if tensorfiles.digest(state) == sha256 else None


def _path(node: Node) -> Path:
    return Path(node.config.paths.cache).expanduser() / "adapters" / f"{node.config.run}_node_{node.id}.safetensors"
