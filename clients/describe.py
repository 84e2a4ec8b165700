"""Mode "describe": what a node holds, so that mistakes are known before anything is trained."""

from __future__ import annotations

from typing import Any

from clients.node import Node
from vegas_fl.audio import encoders
from vegas_fl.storage.tensorfiles import State


def describe(node: Node) -> tuple[dict[str, Any], dict[str, State]]:
    """Clip counts, which clips they are (hashed names) and the audio space; without recordings (pictures only), just
    the node's name."""
    if not node.config.needs_recordings:
        return {"notes": []}, {}
    tokens, width = encoders.shape(node.config.encoder)
    return {
        "train": {label: len(clips) for label, clips in node.clips.train.items()},
        "val": {label: len(clips) for label, clips in node.clips.val.items()},
        "test": {label: len(clips) for label, clips in node.clips.test.items()},
        "notes": list(node.clips.notes),
        "manifest": node.clips.manifest(),
        "audio": {"tokens": tokens, "width": width, "fingerprint": encoders.fingerprint(node.config.encoder)},
    }, {}
