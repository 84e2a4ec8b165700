"""Text targets of a node's own clips (``targets=caption`` or ``attributes``). They are computed on the node: captions
and measured attributes do not leave it."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from pydantic import TypeAdapter

from clients.node import Node
from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.algorithm.targets import vary_within_classes
from vegas_fl.audio import attributes
from vegas_fl.audio.clips import Clip
from vegas_fl.audio.embeddings import READERS
from vegas_fl.core.files import write_atomically
from vegas_fl.data.classes import described, words
from vegas_fl.rendering.text_targets import prompt_targets

RATE = 16_000
"""Hz at which attributes are measured."""


def clip_targets(node: Node, labels: torch.Tensor) -> Conditioning | None:
    """Targets of the node's training clips, in the order of :meth:`Node.embeddings`; None if a clip's target is its
    class's.

    Parameters
    ----------
    node : Node
    labels : Tensor [N]
        Class index of each clip.
    """
    if node.config.targets == "class":
        return None
    clips = [clip for clips in node.clips.train.values() for clip in clips]
    if node.config.targets == "caption":
        texts = [clip.caption or words(clip.label) for clip in clips]
    else:
        found = _attributes(clips, node.data.max_seconds, Path(node.config.paths.cache).expanduser())
        texts = [described(clip.label, mine) for clip, mine in zip(clips, found, strict=True)]
    cache = Path(node.config.paths.cache).expanduser()
    own = prompt_targets([f"a photo of {text}" for text in texts], node.config.renderer, cache, node.device)
    return vary_within_classes(node.targets, labels, own)


def _attributes(clips: Sequence[Clip], max_seconds: float, cache: Path) -> list[list[str]]:
    """The attributes of each clip, cached for the next round."""
    depends_on = "".join([str(attributes.SETTINGS), *(clip.content() for clip in clips)])
    name = hashlib.sha256(depends_on.encode()).hexdigest()[:16]
    path = cache / "attributes" / f"{name}-{max_seconds:g}s.json"
    with contextlib.suppress(OSError, ValueError):  # if it is damaged, it is written again
        kept = TypeAdapter(list[list[str]]).validate_json(path.read_bytes())
        if len(kept) == len(clips):
            return kept
    with ThreadPoolExecutor(READERS) as readers:
        measured = readers.map(lambda clip: attributes.measure(clip.read(RATE, max_seconds), RATE), clips)
        found = [each.words for each in measured]
    write_atomically(path, json.dumps(found).encode())
    return found
