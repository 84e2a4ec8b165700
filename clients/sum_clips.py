"""Mode "sum clips": sums over the node's training clips, for the closed-form adapter."""

from clients.node import Node
from vegas_fl.algorithm.analytic import clip_sums
from vegas_fl.core import devices
from vegas_fl.federation.messages import ClipCounts, SumClips
from vegas_fl.storage.tensorfiles import State


def sum_clips(node: Node, request: SumClips) -> tuple[ClipCounts, dict[str, State]]:
    """The Gram matrix of the clips' statistics, and their sum by class."""
    audio, labels = node.embeddings(node.clips.train)
    with devices.threads(node.config.threads):
        sums = clip_sums(audio, labels, len(node.config.classes))
    counts = {label: len(clips) for label, clips in node.clips.train.items()}
    return ClipCounts(samples=counts, clips=len(audio)), {"sums": sums._asdict()}
