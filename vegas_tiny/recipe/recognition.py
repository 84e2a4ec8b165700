"""How well YAMNet recognises the toy recordings: ``python -m vegas_tiny.recipe.recognition`` prints it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vegas_fl.audio.encoders.yamnet import YamNetEncoder, locate
from vegas_fl.data.datasets import synthesis
from vegas_fl.data.datasets.toy import Toy

AUDIOSET_LABELS = {
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
"""AudioSet labels that count as a class."""


def class_names() -> list[str]:
    """The 521 AudioSet labels, in the order of :func:`scores`."""
    names: list[str] = json.loads((locate("pack") / "classes.json").read_text("utf8"))
    return names


@torch.inference_mode()
def scores(encoder: YamNetEncoder, frames: torch.Tensor) -> torch.Tensor:
    """A clip's features ``[F, 1024]`` → probabilities ``[521]`` of AudioSet's classes, averaged over its patches."""
    return torch.sigmoid(encoder.network.classifier(frames)).mean(0)


def report(clips_per_class: int = 50, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """How well YAMNet recognises the toy clips.

    Parameters
    ----------
    clips_per_class : int
    classes : sequence of str, optional
        Default: all ten.

    Returns
    -------
    dict
        ``recognised``: class → share of its clips with the class among their five most probable AudioSet labels;
        ``classes_recognised``: number of classes for which this share is at least one half;
        ``nearest_mean``: accuracy of the nearest class mean (cosine), with every other clip used for the means;
        ``variety``: class → mean distance between two of its clips, divided by that between a clip of the class
        and a clip of another class;
        ``labels``: class → its most frequent labels, and the number of clips with each among their five.
    """
    encoder = YamNetEncoder(locate("pack"), tokens=1)
    names = np.array(class_names())
    toy = Toy(clips_per_class)
    classes = classes or toy.classes
    recognised: dict[str, float] = {}
    labels: dict[str, dict[str, int]] = {}
    embeddings: dict[str, np.ndarray] = {}
    for label in classes:
        frames = [encoder.features([clip.read(encoder.rate, synthesis.SECONDS)])[0] for clip in toy.clips(label)]
        best = [set(names[scores(encoder, clip).topk(5).indices.numpy()]) for clip in frames]
        recognised[label] = float(np.mean([bool(found & set(AUDIOSET_LABELS[label])) for found in best]))
        counts = Counter(str(name) for found in best for name in found)
        labels[label] = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:8])
        embeddings[label] = torch.nn.functional.normalize(torch.stack([f.mean(0) for f in frames])).numpy()
    means = np.stack([embeddings[label][::2].mean(0) for label in classes])
    nearest = [
        (np.linalg.norm(embeddings[label][1::2, None] - means, axis=2).argmin(1) == index)
        for index, label in enumerate(classes)
    ]
    return {
        "recognised": recognised,
        "classes_recognised": sum(share >= 0.5 for share in recognised.values()),
        "nearest_mean": float(np.concatenate(nearest).mean()),
        "variety": {label: _variety(label, embeddings) for label in classes},
        "labels": labels,
    }


def _variety(label: str, embeddings: dict[str, np.ndarray]) -> float:
    """Mean distance between clips of a class, divided by their mean distance to clips of other classes."""
    own = embeddings[label]
    others = np.concatenate([value for name, value in embeddings.items() if name != label])
    within = np.linalg.norm(own[:, None] - own, axis=2).sum() / (len(own) * (len(own) - 1))
    return float(within / np.linalg.norm(own[:, None] - others, axis=2).mean())


if __name__ == "__main__":
    print(json.dumps(report(), indent=2))
