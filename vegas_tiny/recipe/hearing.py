"""What YAMNet makes of the toy recordings: ``python -m vegas_tiny.recipe.hearing`` prints it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vegas_fl.data.datasets import synthesis
from vegas_fl.data.datasets.toy import Toy

HEARD_AS = {
    "baby_cry": ("Baby cry, infant cry", "Crying, sobbing"),
    "chainsaw": ("Chainsaw",),
    "dog": ("Dog", "Bark", "Bow-wow", "Yip", "Growling"),
    "drum": (
        "Drum",
        "Drum kit",
        "Drum machine",
        "Drum roll",
        "Snare drum",
        "Bass drum",
        "Rimshot",
        "Percussion",
    ),
    "fireworks": ("Fireworks", "Firecracker"),
    "helicopter": ("Helicopter",),
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
    "snoring": ("Snoring",),
    "water_flowing": (
        "Water",
        "Stream",
        "Water tap, faucet",
        "Pour",
        "Trickle, dribble",
        "Gurgling",
        "Waterfall",
    ),
}
"""AudioSet labels that mean a class."""


def report(clips_per_class: int = 50, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """What YAMNet makes of the toy clips.

    Parameters
    ----------
    clips_per_class : int
    classes : sequence of str, optional
        Default: all ten.

    Returns
    -------
    dict
        ``heard``: class → share of its clips whose five best AudioSet labels contain the class;
        ``classes_heard``: in how many classes that is at least half of the clips;
        ``nearest_mean``: accuracy by nearest class mean (cosine), every other clip giving the means;
        ``variety``: class → mean distance between two of its clips, over the mean distance between a clip
        of it and one of another class;
        ``labels``: class → its most frequent labels and in how many clips each is among the five best.
    """
    from vegas_fl.audio.encoders.yamnet import YamNetEncoder, locate

    encoder = YamNetEncoder(locate("pack"), tokens=1)
    names = np.array(encoder.class_names)
    toy = Toy(clips_per_class)
    classes = classes or toy.classes
    heard: dict[str, float] = {}
    labels: dict[str, dict[str, int]] = {}
    embeddings: dict[str, np.ndarray] = {}
    for label in classes:
        frames = [encoder.features([clip.read(encoder.rate, synthesis.SECONDS)])[0] for clip in toy.clips(label)]
        best = [set(names[encoder.classify(clip).topk(5).indices.numpy()]) for clip in frames]
        heard[label] = float(np.mean([bool(found & set(HEARD_AS[label])) for found in best]))
        counts = Counter(str(name) for found in best for name in found)
        labels[label] = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:8])
        embeddings[label] = torch.nn.functional.normalize(torch.stack([f.mean(0) for f in frames])).numpy()
    means = np.stack([embeddings[label][::2].mean(0) for label in classes])
    nearest = [
        (np.linalg.norm(embeddings[label][1::2, None] - means, axis=2).argmin(1) == index)
        for index, label in enumerate(classes)
    ]
    return {
        "heard": heard,
        "classes_heard": sum(share >= 0.5 for share in heard.values()),
        "nearest_mean": float(np.concatenate(nearest).mean()),
        "variety": {label: _variety(label, embeddings) for label in classes},
        "labels": labels,
    }


def _variety(label: str, embeddings: dict[str, np.ndarray]) -> float:
    """Distance between clips of a class, over their distance to other classes' clips."""
    own = embeddings[label]
    others = np.concatenate([value for name, value in embeddings.items() if name != label])
    within = np.linalg.norm(own[:, None] - own, axis=2).sum() / (len(own) * (len(own) - 1))
    return float(within / np.linalg.norm(own[:, None] - others, axis=2).mean())


if __name__ == "__main__":
    print(json.dumps(report(), indent=2))
