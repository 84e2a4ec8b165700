"""What a request's tensors take, estimated before any of them is made."""

from typing import Any

import torch

from clients.node import Node
from vegas_fl.algorithm.adapter import Adapter
from vegas_fl.algorithm.generators import build_sampler
from vegas_fl.federation.messages import Request

COPIES = 4
"""Of each weight, in training: itself, its gradient and Adam's two moments."""
WIDTHS = 4
"""Numbers of 4 bytes that are kept for each number of an output, to train."""


def gigabytes(node: Node, asked: Request[Any]) -> float:
    """GB for the networks, the clips' embeddings, samples of replay and a batch of outputs: a lower bound, from shapes
    only."""
    config, spaces = node.config, getattr(asked, "spaces", None)
    if spaces is None:
        return 0.0
    shape, clips = spaces.shape, node.entry.training_clips
    with torch.device("meta"):
        networks = [
            Adapter(shape, config.adapter),
            build_sampler(shape.audio_tokens, shape.audio_width, config.generator),
        ]
    weights = sum(tensor.numel() for network in networks for tensor in network.state_dict().values())
    embedded = (clips + config.adapter.replay_samples * len(config.classes)) * shape.audio_tokens * shape.audio_width
    outputs = min(config.adapter.batch_size, clips) * (shape.clip_width + shape.t5_tokens * shape.t5_width)
    return 4e-9 * (COPIES * weights + embedded + WIDTHS * outputs)
