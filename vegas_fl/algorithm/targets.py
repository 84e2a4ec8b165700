"""Text targets of single clips, which vary within a class without changing what is learnt about classes."""

import torch
from torch import Tensor

from vegas_fl.algorithm.adapter import Conditioning


def vary_within_classes(classes: Conditioning, labels: Tensor, own: Conditioning) -> Conditioning:
    """A target for each clip that differs from its class's target only in directions in which classes do not differ.

    A prompt with several adjectives may lie nearer to another class's prompt than to that of its own class. So of the
    embedding of a clip's own prompt, only the difference from the mean over its class is taken, and of that only the
    part orthogonal to all differences between class targets:

        target = class + (I - V'V) (own - mean of own over the class),    V: :func:`class_directions`

    By Pythagoras, the squared distances from a clip's target to the class targets are those of its class's target plus
    one constant. So the nearest class target is that of its own class, whatever the adjectives, and adapters learn the
    same about classes as without adjectives.

    V removes at most K - 1 directions of a branch: for 50 classes, 49 of the 768 of FLUX.1's CLIP and of the T * 4096
    of its T5. If no direction remains, because a branch has fewer dimensions than there are classes, the targets are
    those of the classes.

    Parameters
    ----------
    classes : Conditioning
        Targets of all K classes of the federation, whether there are clips of them or not: clip [K, P], t5 [K, T, C].
    labels : Tensor [N]
        The class of each clip.
    own : Conditioning
        Embeddings of the clips' own prompts: clip [N, P], t5 [N, T, C].

    Returns
    -------
    Conditioning
        The clips' targets: clip [N, P], t5 [N, T, C].
    """
    targets = []
    for of_class, of_clip in zip(classes, own, strict=True):
        directions = class_directions(of_class)
        moved = of_class[labels]
        for label in labels.unique():
            mine = labels == label
            apart = (of_clip[mine] - of_clip[mine].mean(0)).flatten(1)
            moved[mine] += (apart - apart @ directions.T @ directions).unflatten(1, of_class.shape[1:])
        targets.append(moved)
    return Conditioning(*targets)


def class_directions(targets: Tensor) -> Tensor:
    """Orthonormal directions ``[R, P]`` that span the differences between K targets ``[K, ...]`` of P numbers each.

    R is at most K - 1; less if differences are linearly dependent, 0 with one class.
    """
    return directions((targets[1:] - targets[0]).flatten(1), targets.norm())


def directions(differences: Tensor, size: Tensor) -> Tensor:
    """Orthonormal directions ``[R, P]`` that span the rows ``[N, P]``, of vectors that have ``size`` as their norm."""
    differences = differences.double()
    # Right singular vectors from the small matrix [N, N], because P may be a million (256 tokens of 4096).
    squares, mixtures = torch.linalg.eigh(differences @ differences.T)
    sizes = squares.clamp(min=0).sqrt()
    found = sizes > 1e-5 * size  # smaller ones are rounding errors
    return ((mixtures[:, found] / sizes[found]).T @ differences).to(size)
