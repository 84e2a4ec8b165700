"""Merging the nodes' adapters into one: knowledge distillation on generator samples, and plain averaging.

Distillation (Hinton et al. 2015, "Distilling the knowledge in a neural network"; for an ensemble of federated
nodes: FedDF, Lin et al. 2020, "Ensemble distillation for robust model fusion") in three steps:

1. For each class c, draw samples x_c from the generators of the nodes that own c.
2. Compute targets (:func:`distillation_targets`): the outputs of the owners' adapters for x_c, averaged with
   the owners' numbers of clips as weights. Nodes that do not own c are not asked: an adapter that was never
   trained on c cannot tell it from other classes, and the mean over all nodes tends to the same vector for
   every class. If some nodes may be faulty or hostile, the median replaces the mean (Yin et al. 2018,
   "Byzantine-robust distributed learning", definition 1, applied to outputs instead of gradients): it stays
   within the range of the honest outputs as long as fewer than half of a class's owners are dishonest.
3. Train one student on the samples of all classes, shuffled together and blended in pairs (:func:`distil`).

Replay replaces step 2: the target is the class's text target (:func:`text_replay`), so it needs no teachers.

Letters: M samples of one class, S audio tokens of width D, P width of CLIP's pooled vector, T tokens of
width C of T5.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from vegas_fl.algorithm.adapter import Adapter, Conditioning, standardisation
from vegas_fl.algorithm.training import adapt, backward
from vegas_fl.config import StudentConfig
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError

LARGE = 256 * 10**6
"""Bytes of samples in float32 beyond which they are kept in half precision."""

Teacher = tuple[Callable[[], Adapter], Mapping[str, float]]
"""A function that loads a node's adapter, and the weight of the node for each class it teaches: its number of clips."""


def distillation_targets(
    samples: Mapping[str, Tensor], teachers: Sequence[Teacher], reduce: Literal["mean", "median"] = "mean"
) -> tuple[Tensor, Conditioning]:
    """What the student should output for the samples: the teachers' outputs, reduced over the teachers of each class.

    Only one teacher is in memory at a time.

    Parameters
    ----------
    samples : mapping of str to Tensor [M, S, D]
        Generator samples of each class. M may differ between classes.
    teachers : sequence of Teacher
        A node teaches the classes for which its weight is positive; classes without samples are ignored.
    reduce : {"mean", "median"}
        ``mean`` is weighted; each teacher is loaded once. ``median`` is taken value by value and gives every teacher
        of a class the same weight, because a faulty or hostile node may claim any number of clips; a teacher is
        loaded once for each of its classes, and the outputs of all teachers of one class are held at a time.

    Returns
    -------
    x : Tensor [sum M, S, D]
        All samples, class after class in the order of ``samples``.
    targets : Conditioning
        The target of each sample: clip [sum M, P], t5 [sum M, T, C].

    Raises
    ------
    VegasError
        If a class has samples but no teacher.
    """
    taught = {label for _, weights in teachers for label, weight in weights.items() if weight > 0}
    if orphans := [label for label in samples if label not in taught]:
        raise VegasError(
            f"No adapter teaches {', '.join(orphans)}: for each class with a generator, at least one node that owns "
            "the class must send its adapter."
        )
    x = stacked(samples)
    ends = list(itertools.accumulate(map(len, samples.values())))
    rows = {label: slice(end - len(one), end) for (label, one), end in zip(samples.items(), ends, strict=True)}
    fill = _means if reduce == "mean" else _medians
    return x, fill(samples, rows, teachers)


def room_for(classes: Iterable[str], count: int, tokens: int, width: int) -> dict[str, Tensor]:
    """Room for ``count`` samples ``[count, tokens, width]`` of each class, in one tensor (:func:`stacked`) on the CPU.

    In half precision if it is larger than :data:`LARGE` otherwise.
    """
    classes = list(classes)
    size = len(classes) * count * tokens * width * 4
    dtype = torch.float32 if size <= LARGE else torch.float16
    rooms = torch.empty(len(classes) * count, tokens, width, dtype=dtype).split(count)
    return dict(zip(classes, rooms, strict=True))


def stacked(samples: Mapping[str, Tensor]) -> Tensor:
    """All samples ``[sum M, S, D]`` in one tensor: the one they are parts of, if they follow each other in it, or a
    copy."""
    parts = list(samples.values())
    whole = parts[0]._base
    if whole is not None and len(whole) == sum(map(len, parts)) and all(part._base is whole for part in parts):
        places = [part.storage_offset() for part in whole.split([len(part) for part in parts])]
        if places == [part.storage_offset() for part in parts]:
            return whole
    return torch.cat(parts)


def _room(outputs: Conditioning, rows: Mapping[str, slice]) -> Conditioning:
    """Room for the targets of all samples, like the outputs for some."""
    count = max(part.stop for part in rows.values())
    return Conditioning(*(branch.new_empty(count, *branch.shape[1:]) for branch in outputs))


def _means(samples: Mapping[str, Tensor], rows: Mapping[str, slice], teachers: Sequence[Teacher]) -> Conditioning:
    """Weighted mean of the teachers' outputs for each class, accumulated in place, teacher by teacher."""
    sums: Conditioning | None = None
    totals: dict[str, float] = {}
    for load, weights in teachers:
        teacher = load()
        for label, weight in weights.items():
            if weight <= 0 or label not in samples:
                continue
            outputs = adapt(teacher, samples[label])
            sums = sums or _room(outputs, rows)
            for branch, output in zip(sums, outputs, strict=True):
                if label in totals:
                    branch[rows[label]].add_(output, alpha=weight)
                else:
                    torch.mul(output, weight, out=branch[rows[label]])
            totals[label] = totals.get(label, 0) + weight
        del teacher  # before the next one is loaded
    assert sums is not None
    for label, total in totals.items():
        for branch in sums:
            branch[rows[label]].div_(total)
    return sums


def _medians(samples: Mapping[str, Tensor], rows: Mapping[str, slice], teachers: Sequence[Teacher]) -> Conditioning:
    """Value-by-value median of the teachers' outputs for each class."""
    medians: Conditioning | None = None
    for label, x in samples.items():
        outputs = [adapt(load(), x) for load, weights in teachers if weights.get(label, 0) > 0]
        medians = medians or _room(outputs[0], rows)
        for branch, parts in zip(medians, zip(*outputs, strict=True), strict=True):
            branch[rows[label]] = _median(torch.stack(parts))
    assert medians is not None
    return medians


def _median(x: Tensor) -> Tensor:
    """Median along the first dimension; halfway between the two middle values if their number is even."""
    ordered = x.sort(0).values
    return (ordered[(len(x) - 1) // 2] + ordered[len(x) // 2]) / 2


def text_replay(
    samples: Mapping[str, Tensor], classes: Sequence[str], targets: Conditioning
) -> tuple[Tensor, Conditioning]:
    """The same as :func:`distillation_targets`, with the text target of its class for each sample.

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
    return stacked(samples), Conditioning(*(branch[labels] for branch in targets))


def distil(
    student: Adapter, x: Tensor, targets: Conditioning, config: StudentConfig, text: Conditioning
) -> dict[str, float]:
    """Train ``student`` in place to output ``targets`` for ``x``, all classes shuffled together.

    The loss of a branch is its mean squared error in units of the variance of the text targets, which no teacher can
    influence. AdamW, with a learning rate that falls to zero along a cosine. Draws come from torch's global generator:
    call inside :func:`vegas_fl.core.seeds.reproducible`.

    Parameters
    ----------
    student : Adapter
        Starts from its current weights: the caller chooses between the :func:`average` of the teachers and the
        previous global adapter.
    x : Tensor [M, S, D]
        Samples of all classes. They and the targets may be on another device than the student, and in half precision:
        they are moved batch by batch.
    targets : Conditioning
        The targets of the samples (:func:`distillation_targets`): clip [M, P], t5 [M, T, C].
    config : StudentConfig
        Epochs, learning rate, batch size, mixup.
    text : Conditioning
        Text targets of all K classes: clip [K, P], t5 [K, T, C].

    Returns
    -------
    dict
        ``clip_loss`` and ``t5_loss`` (mean over the last epoch; 1 is what the mean of all targets scores),
        ``epochs`` and ``samples``.
    """

    def run(at_once: int) -> Tensor:
        device = student.device
        scales = Conditioning(*(standardisation(target)[1].to(device) for target in text))
        optimizer = torch.optim.AdamW(student.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        steps = config.epochs * -(-len(x) // config.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        totals = torch.zeros(2)
        student.train()
        for _ in range(config.epochs):
            totals = torch.zeros(2, device=device)
            for batch in torch.randperm(len(x)).split(config.batch_size):
                wanted = Conditioning(*(target[batch].to(device) for target in targets))
                seen, wanted = mix(x[batch].to(device, torch.float32), wanted, config.mixup)
                optimizer.zero_grad()
                totals += backward(student, seen, wanted, scales, at_once)
                optimizer.step()
                schedule.step()
        student.eval()
        return totals / len(x)

    clip_loss, t5_loss = devices.retrained(student, run, config.batch_size, "distillation").tolist()
    return {"clip_loss": clip_loss, "t5_loss": t5_loss, "epochs": config.epochs, "samples": len(x)}


def mix(x: Tensor, targets: Conditioning, alpha: float) -> tuple[Tensor, Conditioning]:
    """Blend each sample with a random sample of its batch, and its target in the same way (Zhang et al. 2018, "mixup:
    beyond empirical risk minimization", eq. 1): the student becomes linear between samples.

    Parameters
    ----------
    x : Tensor [B, S, D]
        Samples.
    targets : Conditioning
        clip [B, P] and t5 [B, T, C].
    alpha : float
        Each sample's share in its blend is drawn from Beta(alpha, alpha); 0 blends nothing.

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
    other = torch.randperm(len(x)).to(x.device)
    clip = torch.lerp(targets.clip[other], targets.clip, share[:, 0])
    return torch.lerp(x[other], x, share), Conditioning(clip, torch.lerp(targets.t5[other], targets.t5, share))


def average(states: Iterable[Mapping[str, Tensor]], weights: Iterable[float]) -> dict[str, Tensor]:
    """Weighted mean of state dicts (FedAvg, McMahan et al. 2017, "Communication-efficient learning of deep networks
    from decentralized data", algorithm 1), with one state dict in memory at a time.

    Parameters
    ----------
    states : iterable of mappings
        State dicts with the same keys and shapes; may be a generator.
    weights : iterable of float
        A non-negative weight for each, for example the number of clips.

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
            raise VegasError(f"Expected adapters of one architecture to average; they differ in {odd}")
        for key, value in state.items():
            sums[key].add_(value.double(), alpha=weight)
        total += weight
    if total <= 0:
        raise VegasError("Expected at least one adapter with a positive weight to average; got none")
    return {key: (value / total).to(dtypes[key]) for key, value in sums.items()}
