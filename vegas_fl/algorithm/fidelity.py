"""How good a generator is: its samples compared with real clips, beside real clips compared with real clips.

Everything is measured on clip vectors (:func:`clip_vectors`), one for each audio embedding ``[S, D]``. Each metric has
a ceiling: its value for real training clips in place of the samples, with the same estimator and the same number of
clips, so that the estimator's bias for few clips is in both. A generator as good as new recordings reaches every
ceiling. A metric *better* than its ceiling is a warning: samples much nearer to the training clips than new
recordings are (``nearest`` well below its ceiling) are copies.

Letters: N, M numbers of clips, D width of a clip vector, K classes.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional as F

from vegas_fl.algorithm.generators import Sampler

SAMPLES = 200
"""Smallest number of samples compared."""

CHUNK = 32
"""Embeddings in memory at a time: one of AST's is 3.7 MB."""

PRECISION_NEIGHBOURS = 3
"""Neighbours that span the manifold of precision and recall, as Kynkäänniemi et al. 2019 choose."""

DENSITY_NEIGHBOURS = 5
"""Neighbours that span the manifold of density and coverage, as Naeem et al. 2020 choose."""

FidelityMetrics = dict[str, float | None]
"""Metrics by name; None if there are too few clips for one."""


def clip_vectors(x: Tensor) -> Tensor:
    """One vector for each clip: the mean of its tokens, each centred and scaled to length 1.

    An adapter normalises tokens in the same way (:class:`vegas_fl.algorithm.adapter.Branch`). Without it, distances
    would depend more on loudness than on the kind of sound.

    Parameters
    ----------
    x : Tensor [N, S, D]
        Audio embeddings.

    Returns
    -------
    Tensor [N, D]
        Of length at most 1.
    """
    return torch.cat([F.normalize(part - part.mean(-1, keepdim=True), dim=-1).mean(1) for part in x.split(CHUNK)])


def sample_sets(sampler: Sampler, size: int, *, generator: torch.Generator) -> list[Tensor]:
    """Clip vectors of samples, in sets of ``size`` [size, D]: at least one, and at least SAMPLES samples together."""
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
        At most about 4 between clip vectors; None if a set has fewer than two clips.
    """
    if min(len(x), len(y)) < 2:
        return None
    a, b = ((s.double() - s.double().mean(0)) / (len(s) - 1) ** 0.5 for s in (x, y))
    shift = (x.double().mean(0) - y.double().mean(0)).square().sum()
    a, b = (torch.linalg.qr(s, mode="r").R if len(s) > s.shape[1] else s for s in (a, b))
    root = torch.linalg.svdvals(a @ b.T).sum()
    return (shift + a.square().sum() + b.square().sum() - 2 * root).item()


def kernel_distance(x: Tensor, y: Tensor) -> float | None:
    """Kernel distance, KID on image features: the unbiased estimate of MMD² with the kernel ``(xᵀy / D + 1)³``
    (Binkowski et al. 2018, eq. 4 and section 3.1).

    The usual protocol draws 100 subsets of 1000 and averages; this is the average over all subsets, which needs no
    draw and no least number of clips.

    Parameters
    ----------
    x, y : Tensor [N, D], [M, D]

    Returns
    -------
    float or None
        Around 0 for two draws from one distribution, so it may be negative; None if a set has fewer than two clips.
    """
    if min(len(x), len(y)) < 2:
        return None

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        """Sum over all pairs, in parts that fit into memory."""
        b = b.double()
        return torch.stack([(part.double() @ b.T / b.shape[1] + 1).pow(3).sum() for part in a.split(1024)]).sum()

    within = [(kernel(s, s) - (s.double().square().mean(1) + 1).pow(3).sum()) / (len(s) * (len(s) - 1)) for s in (x, y)]
    return (sum(within) - 2 * kernel(x, y) / (len(x) * len(y))).item()


def manifold_metrics(fake: Tensor, real: Tensor) -> FidelityMetrics:
    """Precision, recall (Kynkäänniemi et al. 2019, eq. 2-3), density and coverage (Naeem et al. 2020, eq. 3-4).

    A clip's ball reaches to its k-th nearest neighbour within its own set. Precision: the share of fakes that lie in
    the ball of a real clip. Recall: the share of real clips that lie in the ball of a fake. Density: the mean number
    of real balls that a fake lies in, divided by k. Coverage: the share of real balls that contain a fake.

    Parameters
    ----------
    fake, real : Tensor [N, D], [M, D]

    Returns
    -------
    dict
        ``precision``, ``recall``, ``density`` and ``coverage``; None if a set has too few clips for k neighbours.
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
    """Mean Euclidean distance between two clips of ``x`` [N, D]; None for fewer than two."""
    return _distances(x, x).sum().item() / (len(x) * (len(x) - 1)) if len(x) > 1 else None


def purity(x: Tensor, label: int, means: Tensor) -> float | None:
    """Share of ``x`` [N, D] whose nearest class mean, of ``means`` [K, D], is that of class ``label``."""
    return _share(_distances(x, means).argmin(1) == label) if len(x) else None


def nearest_neighbour_distance(x: Tensor, real: Tensor) -> float | None:
    """Median, over ``x`` [N, D], of the distance to the nearest of ``real`` [M, D]; None if one is empty."""
    return _distances(x, real).min(1).values.median().item() if len(x) and len(real) else None


MEASURED = ("frechet", "precision", "recall", "density", "coverage", "diversity", "purity", "nearest")
"""The metrics of :func:`quality`; each comes with its ``<metric>_ceiling``."""


def quality(
    samples: Sequence[Tensor], training: Tensor, held_out: Tensor, label: int, means: Tensor
) -> FidelityMetrics:
    """All metrics of one class's generator, each with its ceiling.

    | metric | value | ceiling |
    |---|---|---|
    | ``frechet``, ``precision``, ``recall``, ``density``, ``coverage`` | samples : held out | training : held out |
    | ``diversity`` | among samples | among training clips |
    | ``purity`` | of samples | of held-out clips |
    | ``nearest`` | samples → training | held out → training |

    Parameters
    ----------
    samples : sequence of Tensor [N, D]
        Samples (:func:`sample_sets`) in sets as large as the training set. Metrics that depend on the number of
        clips are means over the sets.
    training, held_out : Tensor [N, D], [M, D]
        Real clips of the class that the generator was and was not trained on.
    label : int
        The class's row in ``means``.
    means : Tensor [K, D]
        Mean clip vector of every class of the federation.

    Returns
    -------
    dict
        Metric → value, and ``<metric>_ceiling`` → its ceiling; both None if one of them is undefined.
    """
    everything = torch.cat(list(samples))
    own = _means({"frechet": frechet(part, held_out), **manifold_metrics(part, held_out)} for part in samples)
    own |= {
        "diversity": diversity(everything),
        "purity": purity(everything, label, means),
        "nearest": nearest_neighbour_distance(everything, training),
    }
    ceiling = {
        "frechet": frechet(training, held_out),
        **manifold_metrics(training, held_out),
        "diversity": diversity(training),
        "purity": purity(held_out, label, means),
        "nearest": nearest_neighbour_distance(held_out, training),
    }
    metrics: FidelityMetrics = {}
    for name, value in own.items():
        undefined = value is None or ceiling[name] is None  # one means nothing without the other
        metrics |= {name: None if undefined else value, f"{name}_ceiling": None if undefined else ceiling[name]}
    return metrics


def _means(sets: Iterable[FidelityMetrics]) -> FidelityMetrics:
    """The mean of each metric over several sets of samples."""
    rows = list(sets)
    return {name: None if rows[0][name] is None else fmean(row[name] or 0.0 for row in rows) for name in rows[0]}


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances ``[N, M]``, from scalar products: exact enough in float64 (1e-7 from a clip to itself)."""
    return torch.cdist(x.double(), y.double(), compute_mode="use_mm_for_euclid_dist")


def _radii(x: Tensor, k: int) -> Tensor | None:
    """Distance ``[N]`` from each of ``x`` [N, D] to its k-th nearest neighbour in ``x``; None if N <= k."""
    return _distances(x, x).kthvalue(k + 1, dim=1).values if len(x) > k else None


def _share(mask: Tensor) -> float:
    return mask.double().mean().item()
