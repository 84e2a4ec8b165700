"""Small adapters: their shape and settings, and clustered clips of three classes with targets."""

from __future__ import annotations

import torch

from vegas_fl.algorithm.adapter import AdapterShape, Conditioning
from vegas_fl.config import AdapterConfig
from vegas_fl.core.seeds import generator

SHAPE = AdapterShape(audio_tokens=5, audio_width=24, clip_width=6, t5_tokens=4, t5_width=8)
TARGETS = Conditioning(
    5 + torch.randn(3, 6, generator=generator("clip")), 5 + torch.randn(3, 4, 8, generator=generator("t5"))
)


def config(**changes) -> AdapterConfig:
    return AdapterConfig(
        **{
            "checkpoint_dir": "checkpoints",
            "local_checkpoint_dir": None,
            "width": 16,
            "heads": 2,
            "hidden": 32,
            "local_epochs": 1,
            "replay_samples": 0,
            "clip_learning_rate": 1e-2,
            "t5_learning_rate": 1e-2,
            "weight_decay": 0.0,
            "batch_size": 8,
            **changes,
        }
    )


def clips(*classes: int, count: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Clustered embeddings of some classes, one class after the other, and their labels."""
    centres = torch.randn(3, 1, 1, 24, generator=generator("centres"))
    noise = torch.randn(3, count, 5, 24, generator=generator("noise"))
    return (2 * centres + noise)[list(classes)].flatten(0, 1), torch.tensor(classes).repeat_interleave(count)
