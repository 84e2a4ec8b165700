"""Targets that vary within a class, without changing what is learnt about classes."""

from __future__ import annotations

import torch
from torch import Tensor

from vegas_fl.algorithm.adapter import Conditioning


def spread(classes: Conditioning, labels: Tensor, own: Conditioning) -> Conditioning:
    """Targets that differ within a class, only in what classes do not differ in.

    A prompt of several adjectives may lie nearer to another class's prompt than to its own's. So of each clip's own
    prompt only the difference from the mean of its class's is taken, and of that only what is orthogonal to all
    differences between class targets:

        target = class + (I - V'V) (own - mean of own over the class),    V: :func:`between`

    By Pythagoras a clip's target is then as far from every class target as its own class's is, but for one term that is
    the same for all: the nearest is its own, whatever the adjectives, and what adapters are taught about classes is
    the same as without adjectives.

    V takes at most K - 1 directions of a branch: for 50 classes, 49 of FLUX.1's 768 of CLIP and of T * 4096 of T5. With
    more classes than a branch has dimensions nothing may be left; its targets are then those of the classes.

    Parameters
    ----------
    classes : Conditioning
        Targets of K classes: all of the federation, also those the clips are not of.
    labels : Tensor [N]
        The class of each clip.
    own : Conditioning
        Embeddings of the clips' own prompts, N.
    """
    targets = []
    for of_class, of_clip in zip(classes, own, strict=True):
        directions = between(of_class)
        moved = of_class[labels]
        for label in labels.unique():
            mine = labels == label
            apart = (of_clip[mine] - of_clip[mine].mean(0)).flatten(1)
            moved[mine] += (apart - apart @ directions.T @ directions).unflatten(1, of_class.shape[1:])
        targets.append(moved)
    return Conditioning(*targets)


def between(targets: Tensor) -> Tensor:
    """Orthonormal directions ``[R, P]`` that span the differences between K targets ``[K, ...]`` of P numbers each.

    R is at most K - 1, fewer where targets depend on each other or are the same, 0 with one class.
    """
    differences = (targets[1:] - targets[0]).flatten(1).double()
    # Right singular vectors by way of the small matrix [K - 1, K - 1]: P may be a million (256 tokens of 4096).
    squares, mixtures = torch.linalg.eigh(differences @ differences.T)
    sizes = squares.clamp(min=0).sqrt()
    found = sizes > 1e-5 * targets.norm()  # below is rounding, not a difference
    return ((mixtures[:, found] / sizes[found]).T @ differences).to(targets)
