"""Toy recordings: the ten VEGAS classes synthesised, so that the default run needs no download."""

import hashlib
from dataclasses import dataclass

import numpy as np
import soxr

from vegas_fl.audio.clips import Clip
from vegas_fl.core.seeds import derive_seed
from vegas_fl.data.datasets.base import Dataset
from vegas_fl.data.datasets.recipes import RECIPES, synthesise
from vegas_fl.data.datasets.synthesis import RATE, SECONDS

VERSION = 2
"""Increased whenever a recipe changes, so that cached embeddings of old clips are not used."""


class Toy(Dataset):
    """``clips_per_class`` clips of each of the ten classes."""

    def __init__(self, clips_per_class: int) -> None:
        self._clips = {
            label: [ToyClip(label, f"toy {label} {index}", None, index) for index in range(clips_per_class)]
            for label in RECIPES
        }


@dataclass(frozen=True)
class ToyClip(Clip):
    """The ``index``-th toy clip of a class, always the same."""

    index: int

    def content(self) -> str:
        return hashlib.sha256(f"toy {VERSION} {self.label} {self.index}".encode()).hexdigest()

    def read(self, rate: int, max_seconds: float, cancelled: list[str] | None = None) -> np.ndarray:
        rng = np.random.default_rng(derive_seed("toy", VERSION, self.label, self.index))
        sound = synthesise(self.label, rng)
        if rate != RATE:
            sound = np.clip(soxr.resample(sound, RATE, rate), -1.0, 1.0).astype(np.float32)
        return sound[: round(max_seconds * rate)]

    def format(self) -> tuple[float, int]:
        return float(SECONDS), RATE
