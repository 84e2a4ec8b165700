"""Toy recordings: the ten VEGAS classes synthesised, so that the default run needs no download.

``python -m vegas_fl.datasets.toy`` has YAMNet judge them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from vegas_fl.clips import Clip
from vegas_fl.datasets import synthesis
from vegas_fl.seeds import derive_seed

VERSION = 1
"""Raised when a recipe changes: embeddings in caches are then of other clips."""

HEARD_AS = {
    "baby_cry": ("Baby cry, infant cry", "Crying, sobbing", "Whimper", "Wail, moan"),
    "chainsaw": ("Chainsaw", "Power tool", "Sawing"),
    "dog": ("Dog", "Bark", "Bow-wow", "Yip", "Growling", "Howl", "Whimper (dog)"),
    "drum": (
        "Drum",
        "Drum kit",
        "Snare drum",
        "Bass drum",
        "Drum machine",
        "Drum roll",
        "Rimshot",
        "Percussion",
        "Timpani",
    ),
    "fireworks": ("Fireworks", "Firecracker", "Burst, pop", "Explosion", "Boom"),
    "helicopter": ("Helicopter", "Aircraft", "Propeller, airscrew"),
    "printer": ("Printer",),
    "rail_transport": (
        "Train",
        "Rail transport",
        "Railroad car, train wagon",
        "Subway, metro, underground",
        "Clickety-clack",
        "Train horn",
        "Train whistle",
        "Train wheels squealing",
    ),
    "snoring": ("Snoring", "Snort"),
    "water_flowing": (
        "Water",
        "Stream",
        "Water tap, faucet",
        "Pour",
        "Trickle, dribble",
        "Gurgling",
        "Fill (with liquid)",
        "Waterfall",
        "Liquid",
        "Splash, splatter",
    ),
}
"""AudioSet labels that mean a class."""


class Toy:
    """``clips_per_class`` clips of each of the ten classes."""

    def __init__(self, clips_per_class: int) -> None:
        self._count = clips_per_class

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted(synthesis.RECIPES))

    def clips(self, label: str) -> list[Clip]:
        if label not in synthesis.RECIPES:
            return []
        return [ToyClip(label, f"toy {label} {index}", None, index) for index in range(self._count)]


@dataclass(frozen=True)
class ToyClip(Clip):
    """The ``index``-th toy clip of a class: the same for ever, whoever asks."""

    index: int

    def content(self) -> str:
        return hashlib.sha256(f"toy {VERSION} {self.label} {self.index}".encode()).hexdigest()

    def read(self, rate: int, max_seconds: float) -> np.ndarray:
        rng = np.random.default_rng(derive_seed("toy", VERSION, self.label, self.index))
        sound = synthesis.synthesise(self.label, rng)
        if rate != synthesis.RATE:
            sound = np.clip(soxr.resample(sound, synthesis.RATE, rate), -1.0, 1.0).astype(np.float32)
        return sound[: round(max_seconds * rate)]


def report(clips_per_class: int = 50) -> dict[str, Any]:
    """What YAMNet makes of the toy clips.

    Returns
    -------
    dict
        ``heard``: class → share of its clips whose five best AudioSet labels contain the class;
        ``classes_heard``: in how many classes that is at least half of the clips;
        ``nearest_mean``: accuracy by nearest class mean of clips not used for the means;
        ``variety``: class → mean distance of its clips from their mean, over the mean distance to the
        nearest other class's mean;
        ``best``: class → its most frequent labels, for tuning.
    """
    from vegas_fl.encoders.yamnet import YamNetEncoder, locate

    encoder = YamNetEncoder(locate("pack"), tokens=1)
    names = np.array(encoder.class_names)
    toy = Toy(clips_per_class)
    heard: dict[str, float] = {}
    best: dict[str, dict[str, int]] = {}
    embeddings: dict[str, np.ndarray] = {}
    for label in toy.classes:
        sounds = [clip.read(encoder.rate, synthesis.SECONDS) for clip in toy.clips(label)]
        top = [set(names[row]) for row in np.argsort(-encoder.scores(sounds).numpy(), axis=1)[:, :5]]
        heard[label] = float(np.mean([bool(labels & set(HEARD_AS[label])) for labels in top]))
        counts = {str(name): sum(name in labels for labels in top) for name in set().union(*top)}
        best[label] = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:8])
        embeddings[label] = encoder.encode(sounds)[:, 0].numpy()
    means = np.stack([embeddings[label][::2].mean(0) for label in toy.classes])
    right, total, variety = 0, 0, {}
    for index, label in enumerate(toy.classes):
        unseen = embeddings[label][1::2]
        distances = np.linalg.norm(unseen[:, None] - means, axis=2)
        right, total = right + int((distances.argmin(1) == index).sum()), total + len(unseen)
        spread = np.linalg.norm(embeddings[label] - embeddings[label].mean(0), axis=1).mean()
        variety[label] = float(spread / np.delete(distances, index, axis=1).min(1).mean())
    return {
        "heard": heard,
        "classes_heard": sum(share >= 0.5 for share in heard.values()),
        "nearest_mean": right / total,
        "variety": variety,
        "best": best,
    }


if __name__ == "__main__":
    print(json.dumps(report(), indent=2))
