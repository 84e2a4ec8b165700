"""Sounds and settings that several audio tests use; imports nothing heavy, because child processes import it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch

from vegas_fl.audio.clips import FileClip
from vegas_fl.audio.embeddings import embed
from vegas_fl.config import EncoderConfig


def yamnet(**changes: object) -> EncoderConfig:
    """The default encoder."""
    values = {"name": "yamnet", "model": "pack", "revision": None, "tokens": 8, "batch_size": 16}
    return EncoderConfig.model_validate(values | changes)


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise ``[N]`` at 16 kHz."""
    rng = np.random.default_rng(seed)
    return (0.1 * rng.normal(size=int(16_000 * seconds))).astype(np.float32)


def write(path: Path, seed: int = 0, seconds: float = 1.0) -> None:
    """A recording of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(seconds, seed), 16_000)


def embed_files(paths: list[Path], cache: Path) -> None:
    """Fill a cache: what a second process does."""
    torch.set_num_threads(1)
    clips = [FileClip("dog", str(path), None, path) for path in paths]
    embed(clips, yamnet(), cache_dir=cache, max_seconds=5.0)
