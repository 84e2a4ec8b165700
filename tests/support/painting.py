"""Settings of the tiny FLUX, embeddings to draw, and what was drawn as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL.Image import Image

from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.config import RendererConfig, compose
from vegas_fl.rendering.painter import Painter


def renderer(**changes: object) -> RendererConfig:
    values = compose(["renderer.steps=2"]).renderer.model_dump()
    return RendererConfig.model_validate(values | changes)


def prompts(count: int, clip: int = 64, tokens: int = 16, t5: int = 64) -> tuple[Conditioning, list[int]]:
    """Embeddings and seeds of ``count`` pictures; the first ones are the same whatever the count."""
    generators = [torch.Generator().manual_seed(i) for i in range(count)]
    rows = [(torch.randn(clip, generator=g), torch.randn(tokens, t5, generator=g)) for g in generators]
    return Conditioning(*(torch.stack(branch) for branch in zip(*rows, strict=True))), list(range(count))


def values(images: Sequence[Image]) -> np.ndarray:
    return np.stack([np.asarray(image, np.int16) for image in images])


def pixels(painter: Painter, count: int = 8) -> np.ndarray:
    return values(painter.paint(*prompts(count)))
