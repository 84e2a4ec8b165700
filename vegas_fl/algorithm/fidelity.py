"""How good a generator is: its samples beside real clips, and real clips beside real clips.

Everything is measured on clip vectors (:func:`clip_vectors`), one for an audio embedding ``[S, D]``. Every figure has
a ceiling: what real training clips score in the place of the samples, under the same estimator and in the same
numbers, so that what an estimator makes of few clips is in both. A generator as good as new recordings reaches
the ceiling of each; a figure *better* than its ceiling is a warning, not a success: samples nearer to the
training clips than new recordings are (``nearest`` well below its ceiling) are copies.

Letters: N, M numbers of clips, D width of a clip vector, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional as F

from vegas_fl.algorithm.generators import Sampler

SAMPLES = 200
"""Samples compared, at least."""

CHUNK = 32
"""Embeddings held at a time: one of AST's is 3.7 MB."""

PRECISION_NEIGHBOURS = 3
"""Neighbours that span the manifold of precision and recall, as Kynkäänniemi et al. 2019 choose."""

DENSITY_NEIGHBOURS = 5
"""Neighbours that span the manifold of density and coverage, as Naeem et al. 2020 choose."""

Figures = dict[str, float | None]
"""By name; None where too few clips leave a figure undefined."""


def clip_vectors(x: Tensor) -> Tensor:
    """One vector a clip: its tokens, centred and scaled to length 1, averaged.

    That is what an adapter sees of a token (:class:`vegas_fl.algorithm.adapter.Branch` normalises each): without it,
    loudness would outweigh what the sound is.

    Parameters
    ----------
    x : Tensor [N, S, D]
        Audio embeddings.

    Returns
    -------
    Tensor [N, D]
        Of length 1 at most.
    """
    return torch.cat([F.normalize(part - part.mean(-1, keepdim=True), dim=-1).mean(1) for part in x.split(CHUNK)])


def draw(sampler: Sampler, size: int, *, generator: torch.Generator) -> list[Tensor]:
    """Clip vectors of samples, in sets of ``size`` [size, D]: as many as make SAMPLES samples, one at least."""
    sets = max(1, -(-SAMPLES // size))
    chunks = [CHUNK] * (sets * size // CHUNK) + [sets * size % CHUNK]
    vectors = [clip_vectors(sampler.sample(count, generator=generator)) for count in chunks if count]
    return list(torch.cat(vectors).split(size))


def frechet(x: Tensor, y: Tensor) -> float | None:
    """Fréchet distance between Gaussians fitted to two sets (Heusel et al. 2017, eq. 6).

    ``|m - m'|² + Tr(C + C' - 2 (C C')^½)``. With C = AᵀA and C' = BᵀB, the eigenvalues of (C C')^½ are the
    singular values of A Bᵀ, an ``[N, M]`` matrix: exact for few clips of any width, without a D x D root. Of more
    rows than columns, the triangle of the QR decomposition has the same inner products in D rows.
    Biased upwards by few clips, as any such estimate: compare at equal numbers only.

    Parameters
    ----------
    x, y : Tensor [N, D], [M, D]

    Returns
    -------
    float or None
        Between clip vectors at most about 4; None if a set has fewer than two clips.
    """
    if min(len(x), len(y)) < 2:
        return None
    a, b = ((s.double() - s.double().mean(0)) / (len(s) - 1) ** 0.5 for s in (x, y))
    shift = (x.double().mean(0) - y.double().mean(0)).square().sum()
    a, b = (torch.linalg.qr(s, mode="r").R if len(s) > s.shape[1] else s for s in (a, b))
    root = torch.linalg.svdvals(a @ b.T).sum()
    return (shift + a.square().sum() + b.square().sum() - 2 * root).item()


def manifold_figures(fake: Tensor, real: Tensor) -> Figures:
    """Precision, recall (Kynkäänniemi et al. 2019, eq. 2-3), density and coverage (Naeem et al. 2020, eq. 3-4).

    A clip's ball reaches to its k-th nearest neighbour within its own set. Precision: the share of fakes in some
    real clip's ball. Recall: the share of real clips in some fake's ball. Density: the mean number of real balls
    around a fake, over k. Coverage: the share of real balls with a fake in them.

    Parameters
    ----------
    fake, real : Tensor [N, D], [M, D]

    Returns
    -------
    dict
        ``precision``, ``recall``, ``density`` and ``coverage``; None for sets too small to have k neighbours.
    """
    between = _distances(fake, real)
    k = DENSITY_NEIGHBOURS
    near, dense = _radii(real, PRECISION_NEIGHBOURS), _radii(real, k)
    reach = _radii(fake, PRECISION_NEIGHBOURS)
    return {
        "precision": None if near is None else _share((between <= near).any(1)),
        "recall": None if reach is None else _share((between <= reach[:, None]).any(0)),
        "density": None if dense is None else (between < dense).sum(1).double().mean().item() / k,
        "coverage": None if dense is None else _share(between.min(0).values < dense),
    }


def diversity(x: Tensor) -> float | None:
    """Mean Euclidean distance between two of ``x`` [N, D]; None for fewer than two."""
    return _distances(x, x).sum().item() / (len(x) * (len(x) - 1)) if len(x) > 1 else None


def purity(x: Tensor, label: int, means: Tensor) -> float | None:
    """Share of ``x`` [N, D] whose nearest class mean, of ``means`` [K, D], is that of class ``label``."""
    return _share(_distances(x, means).argmin(1) == label) if len(x) else None


def nearest(x: Tensor, real: Tensor) -> float | None:
    """Median distance of ``x`` [N, D] to the nearest of ``real`` [M, D]."""
    return _distances(x, real).min(1).values.median().item() if len(x) and len(real) else None


MEASURED = ("frechet", "precision", "recall", "density", "coverage", "diversity", "purity", "nearest")
"""The figures of :func:`quality`; each has its ``<figure>_ceiling`` beside it."""


def quality(draws: Sequence[Tensor], training: Tensor, held_out: Tensor, label: int, means: Tensor) -> Figures:
    """All figures of one class's generator, each with its ceiling.

    | figure | samples | ceiling |
    |---|---|---|
    | ``frechet``, ``precision``, ``recall``, ``density``, ``coverage`` | samples : held out | training : held out |
    | ``diversity`` | among samples | among training clips |
    | ``purity`` | of samples | of held-out clips |
    | ``nearest`` | samples → training | held out → training |

    Parameters
    ----------
    draws : sequence of Tensor [N, D]
        Samples, in sets of as many as there are training clips: figures that depend on the number are the
        sets' mean.
    training, held_out : Tensor [N, D], [M, D]
        Real clips of the class that the generator did and did not learn from.
    label : int
        The class's row in ``means``.
    means : Tensor [K, D]
        Mean clip vector of every class of the federation.

    Returns
    -------
    dict
        Figure → value, and ``<figure>_ceiling`` → its ceiling; None for both where one is undefined.
    """
    samples = torch.cat(list(draws))
    own = _means({"frechet": frechet(draw, held_out), **manifold_figures(draw, held_out)} for draw in draws)
    own |= {
        "diversity": diversity(samples),
        "purity": purity(samples, label, means),
        "nearest": nearest(samples, training),
    }
    ceiling = {
        "frechet": frechet(training, held_out),
        **manifold_figures(training, held_out),
        "diversity": diversity(training),
        "purity": purity(held_out, label, means),
        "nearest": nearest(held_out, training),
    }
    figures: Figures = {}
    for name, value in own.items():
        undefined = value is None or ceiling[name] is None  # one without the other would say nothing
        figures |= {name: None if undefined else value, f"{name}_ceiling": None if undefined else ceiling[name]}
    return figures


def _means(figures: Iterable[Figures]) -> Figures:
    """Each figure's mean over several draws."""
    rows = list(figures)
    return {name: None if rows[0][name] is None else fmean(row[name] or 0.0 for row in rows) for name in rows[0]}


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean, ``[N, M]``; by way of scalar products, which float64 affords (a distance to itself is below 1e-7)."""
    return torch.cdist(x.double(), y.double(), compute_mode="use_mm_for_euclid_dist")


def _radii(x: Tensor, k: int) -> Tensor | None:
    """Distance of each of ``x`` [N, D] to its k-th nearest other one ``[N]``; None if there are not so many."""
    return _distances(x, x).kthvalue(k + 1, dim=1).values if len(x) > k else None


def _share(mask: Tensor) -> float:
    return mask.double().mean().item()
