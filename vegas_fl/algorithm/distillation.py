"""Merging adapters: knowledge distillation on generator samples, and plain averaging.

Distillation (Hinton et al. 2015, "Distilling the knowledge in a neural network"; for an ensemble of nodes
Lin et al. 2020, "Ensemble distillation for robust model fusion", FedDF) in the order of the algorithm:

1. for each class c, samples x_c from the generators of its owners;
2. targets: the sample-count-weighted mean of what the *owners* of c make of x_c
   (:class:`OwnerTargets`). A node that never heard c has nothing to say about it: the mean over all nodes
   tends to one and the same vector for every class;
3. one student learns all classes, shuffled together, samples blended in pairs (:func:`distil`).

Among teachers of whom some may send nonsense, the median stands for the mean in step 2 (:func:`median_targets`).
Replay is the same with the class's text target in step 2 (:func:`text_replay`): it needs no teachers.

Letters: M samples of one class, S audio tokens of width D, P width of CLIP's pooled vector, T tokens of
width C of T5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from vegas_fl.algorithm.adapter import Adapter, Conditioning, standardisation
from vegas_fl.algorithm.training import adapt, branch_losses
from vegas_fl.config import StudentConfig
from vegas_fl.core.errors import VegasError


class OwnerTargets:
    """The distillation targets, fed one teacher at a time so that memory does not grow with the nodes.

    Parameters
    ----------
    samples : mapping of str to Tensor [M, S, D]
        Generator samples of each class. M may differ between classes.

    Examples
    --------
    >>> targets = OwnerTargets({"dog": dogs, "rain": rains})       # doctest: +SKIP
    >>> for node in nodes:                                         # doctest: +SKIP
    ...     targets.add(node.adapter, {"dog": 24})                 # clips of each class the node owns
    >>> x, wanted = targets.result()                               # doctest: +SKIP
    """

    def __init__(self, samples: Mapping[str, Tensor]) -> None:
        self.samples = dict(samples)
        self._sums: dict[str, Conditioning] = {}
        self._weights: dict[str, float] = {}

    def add(self, teacher: Adapter, weights: Mapping[str, float]) -> None:
        """Add ``w * teacher(x_c)`` for each class c of ``weights``; the teacher may be dropped afterwards.

        Parameters
        ----------
        teacher : Adapter
            One node's adapter.
        weights : mapping of str to float
            The classes the node owns and how much it counts for each: its number of clips. Classes
            without samples are left out; so are weights of 0.
        """
        for name, weight in weights.items():
            if weight <= 0 or name not in self.samples:
                continue
            outputs = adapt(teacher, self.samples[name])
            if name in self._sums:
                for total, output in zip(self._sums[name], outputs, strict=True):
                    total.add_(output, alpha=weight)
            else:
                self._sums[name] = Conditioning(*(weight * output for output in outputs))
            self._weights[name] = self._weights.get(name, 0) + weight

    def put(self, name: str, outputs: Conditioning) -> None:
        """Set the targets of class ``name``: clip [M, P], t5 [M, T, C]."""
        self._sums[name], self._weights[name] = outputs, 1

    def result(self) -> tuple[Tensor, Conditioning]:
        """All samples ``[sum M, S, D]`` and their targets, class after class in the order of ``samples``.

        Raises
        ------
        VegasError
            If a class has samples but no teacher.
        """
        orphans = [name for name in self.samples if name not in self._sums]
        if orphans:
            raise VegasError(
                f"No adapter teaches {', '.join(orphans)}: each class with a generator needs a node that owns "
                "it among the replies."
            )
        means = [Conditioning(*(total / self._weights[name] for total in self._sums[name])) for name in self.samples]
        x = torch.cat(list(self.samples.values()))
        return x, Conditioning(*(torch.cat(parts) for parts in zip(*means, strict=True)))


def owner_targets(
    samples: Mapping[str, Tensor], teachers: Iterable[tuple[Adapter, Mapping[str, float]]]
) -> tuple[Tensor, Conditioning]:
    """:class:`OwnerTargets` for an iterable of (teacher, weights); only one teacher is held at a time."""
    targets = OwnerTargets(samples)
    for teacher, weights in teachers:
        targets.add(teacher, weights)
    return targets.result()


def median_targets(
    samples: Mapping[str, Tensor], teachers: Sequence[tuple[Callable[[], Adapter], Mapping[str, float]]]
) -> tuple[Tensor, Conditioning]:
    """Targets that stay right while fewer than half of a class's teachers are faulty or hostile: number by number,
    the median of what they make of a sample (Yin et al. 2018, "Byzantine-robust distributed learning", definition 1,
    of outputs instead of gradients). All teachers count the same, whatever number of clips they claim.

    Parameters
    ----------
    samples : mapping of str to Tensor [M, S, D]
        Generator samples of each class.
    teachers : sequence of (function, mapping)
        What loads a node's adapter (it is dropped again after each class), and its clips by class.

    Returns
    -------
    x : Tensor [sum M, S, D]
        All samples, class after class.
    targets : Conditioning
        Of each; the outputs of all teachers of one class are held at a time.

    Raises
    ------
    VegasError
        If a class has samples but no teacher.
    """
    targets = OwnerTargets(samples)
    for name, x in samples.items():
        outputs = [adapt(load(), x) for load, clips in teachers if clips.get(name, 0) > 0]
        if outputs:
            targets.put(name, Conditioning(*(_median(torch.stack(branch)) for branch in zip(*outputs, strict=True))))
    return targets.result()


def _median(x: Tensor) -> Tensor:
    """Along the first dimension; between the two in the middle if there is an even number."""
    ordered = x.sort(0).values
    return (ordered[(len(x) - 1) // 2] + ordered[len(x) // 2]) / 2


def text_replay(
    samples: Mapping[str, Tensor], classes: Sequence[str], targets: Conditioning
) -> tuple[Tensor, Conditioning]:
    """All samples ``[sum M, S, D]`` and the text target of the class of each.

    Parameters
    ----------
    samples : mapping of str to Tensor [M, S, D]
        Generator samples of each class.
    classes : sequence of str
        The K classes in the order of ``targets``.
    targets : Conditioning
        Text targets: clip [K, P], t5 [K, T, C].
    """
    labels = torch.cat([torch.full((len(x),), classes.index(name)) for name, x in samples.items()])
    return torch.cat(list(samples.values())), Conditioning(*(branch[labels] for branch in targets))


def distil(student: Adapter, x: Tensor, targets: Conditioning, config: StudentConfig) -> dict[str, float]:
    """Train ``student`` in place to give ``targets`` for ``x``; all classes shuffled together.

    The loss of a branch is its mean squared error in units of the variance of its targets. AdamW with a
    learning rate that falls to zero along a cosine. Draws come from torch's global generator: call inside
    :func:`vegas_fl.core.seeds.reproducible`.

    Parameters
    ----------
    student : Adapter
        Starts from the weights it has; the caller decides about a warm start (:func:`average` of the
        teachers, or the previous global adapter).
    x : Tensor [M, S, D]
        Samples of all classes.
    targets : Conditioning
        clip [M, P] and t5 [M, T, C], of :meth:`OwnerTargets.result`.
    config : StudentConfig
        Epochs, learning rate, batch size, mixup.

    Returns
    -------
    dict
        ``clip_loss`` and ``t5_loss`` (mean over the last epoch; 1 is what the mean of all targets scores),
        ``epochs`` and ``samples``.
    """
    scales = Conditioning(*(standardisation(target)[1] for target in targets))
    optimizer = torch.optim.AdamW(student.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    steps = config.epochs * -(-len(x) // config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    totals = torch.zeros(2)
    student.train()
    for _ in range(config.epochs):
        totals = torch.zeros(2)
        for batch in torch.randperm(len(x)).split(config.batch_size):
            seen, wanted = mix(x[batch], Conditioning(*(target[batch] for target in targets)), config.mixup)
            losses = branch_losses(student(seen), wanted, scales)
            optimizer.zero_grad()
            (losses.clip + losses.t5).backward()
            optimizer.step()
            schedule.step()
            totals += len(batch) * torch.stack(losses).detach().cpu()
    student.eval()
    clip_loss, t5_loss = (totals / len(x)).tolist()
    return {"clip_loss": clip_loss, "t5_loss": t5_loss, "epochs": config.epochs, "samples": len(x)}


def mix(x: Tensor, targets: Conditioning, alpha: float) -> tuple[Tensor, Conditioning]:
    """Blend each sample with a random other one of its batch, and its target likewise (Zhang et al. 2018, "mixup:
    beyond empirical risk minimization", eq. 1): so the student is linear between samples, where it has seen none.

    Parameters
    ----------
    x : Tensor [B, S, D]
        Samples.
    targets : Conditioning
        clip [B, P] and t5 [B, T, C].
    alpha : float
        The share of the first sample comes from Beta(alpha, alpha), a draw for each; 0 leaves all as it is.

    Returns
    -------
    x : Tensor [B, S, D]
        Blended samples.
    targets : Conditioning
        Their targets.
    """
    if not alpha:
        return x, targets
    share = torch.distributions.Beta(alpha, alpha).sample((len(x), 1, 1)).to(x)
    other = torch.randperm(len(x))
    clip = torch.lerp(targets.clip[other], targets.clip, share[:, 0])
    return torch.lerp(x[other], x, share), Conditioning(clip, torch.lerp(targets.t5[other], targets.t5, share))


def average(states: Iterable[Mapping[str, Tensor]], weights: Iterable[float]) -> dict[str, Tensor]:
    """Weighted mean of state dicts (FedAvg, McMahan et al. 2017, algorithm 1); one is held at a time.

    Parameters
    ----------
    states : iterable of mappings
        State dicts with the same keys and shapes; may be lazy.
    weights : iterable of float
        One non-negative weight each, for example the number of clips.

    Returns
    -------
    dict
        The mean, in the dtypes of the first state dict.

    Raises
    ------
    VegasError
        If there is nothing to average, or the keys differ.
    """
    sums: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    total = 0.0
    for state, weight in zip(states, weights, strict=True):
        if not dtypes:
            dtypes = {key: value.dtype for key, value in state.items()}
            sums = {key: torch.zeros_like(value, dtype=torch.float64) for key, value in state.items()}
        if state.keys() != sums.keys():
            odd = ", ".join(sorted(state.keys() ^ sums.keys()))
            raise VegasError(f"Adapters of different architecture cannot be averaged: they differ in {odd}.")
        for key, value in state.items():
            sums[key].add_(value.double(), alpha=weight)
        total += weight
    if total <= 0:
        raise VegasError("Nothing to average: no adapter came with a positive weight.")
    return {key: (value / total).to(dtypes[key]) for key, value in sums.items()}
