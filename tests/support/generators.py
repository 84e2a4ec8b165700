"""Embeddings of classes that a generator can learn."""

from __future__ import annotations

import torch

from vegas_fl.core.seeds import generator

TOKENS, WIDTH = 5, 24


def clips(label: int, count: int = 24) -> torch.Tensor:
    """A class as a cluster: its own centre, clips around it, tokens around the clip, as after a ReLU."""
    centre = torch.randn(WIDTH, generator=generator("centre", label))
    draw = generator("clips", label)
    clip = torch.randn(count, 1, WIDTH, generator=draw)
    token = torch.randn(count, TOKENS, WIDTH, generator=draw)
    return (2 * centre + 0.5 * clip + 0.3 * token).relu()
