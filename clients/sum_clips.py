"""Modes "sum key" and "sum clips": sums over the node's training clips, for the closed-form adapter."""

import hashlib
import json
from typing import Any

from clients.node import Node
from vegas_fl.algorithm.analytic import clip_sums
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import locked, read_text, write_atomically
from vegas_fl.federation import secure_sum
from vegas_fl.federation.messages import ClipCounts, SumClips, SumKey, SumKeys
from vegas_fl.storage.tensorfiles import State, digest

KEPT = "sums.json"
"""Beside the node's secret: what was masked with which keys."""


def sum_key(node: Node, request: SumKeys) -> tuple[SumKey, dict[str, State]]:
    """The node's public key for one sum."""
    return SumKey(key=secure_sum.public(_key(node, request.sum))), {}


def sum_clips(node: Node, request: SumClips) -> tuple[ClipCounts, dict[str, State]]:
    """The Gram matrix of the clips' statistics, and their sum by class; masked, if there are keys."""
    audio, labels = node.embeddings(node.clips.train)
    with devices.threads(node.config.threads):
        sums: State = clip_sums(audio, labels, len(node.config.classes))._asdict()
    counts = {label: len(clips) for label, clips in node.clips.train.items()}
    if request.keys:
        sums = _masked(node, request, sums)
    return ClipCounts(samples=counts, clips=len(audio)), {"sums": sums}


def _key(node: Node, about: str) -> Any:
    return secure_sum.private_key(node.secret, f"{node.id} {about}")


def _masked(node: Node, request: SumClips, sums: State) -> State:
    about, what = hashlib.sha256(json.dumps(request.keys, sort_keys=True).encode()).hexdigest(), digest(sums)
    path = node.place / KEPT
    with locked(path):  # the difference of two sums with the same masks would be a sum without masks
        try:
            kept = json.loads(read_text(path)) if path.exists() else {}
        except (OSError, ValueError) as error:
            raise VegasError(f"{path} cannot be read; remove it together with clips.secret") from error
        name = f"{node.id} {about}"
        if kept.setdefault(name, what) != what:
            raise VegasError(f"node {node.id} refuses other sums with the same masks; start another run")
        write_atomically(path, json.dumps(kept, indent=1).encode())
    try:
        return secure_sum.masked(sums, node.id, _key(node, request.sum), request.keys)
    except ValueError as error:
        raise VegasError(f"node {node.id}: the keys of the secure sum cannot be used: {error}") from error
