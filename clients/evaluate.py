"""Mode "evaluate": adapters scored on clips no node trained on, by the text targets."""

import hashlib
from itertools import chain

from torch import Tensor

from clients.node import Node
from clients.own_adapter import recalled
from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Adapter
from vegas_fl.algorithm.training import adapt
from vegas_fl.config import BRANCHES
from vegas_fl.core import devices, seeds
from vegas_fl.federation.messages import Branches, Evaluate, Evaluation, Right, Sums
from vegas_fl.storage.tensorfiles import State, load_into

CANDIDATE = "candidate."
MOST_ERROR = 4.0
"""Largest mean squared error of a clip that a confined node reports, in units of the targets' variance (predicting the
mean of all targets gives 1)."""
STEPS = 4
"""A confined node rounds each clip's margin, before it is added to others, to a multiple of 1 / STEPS in [-1, 1]:
many weighted sums of finer ones would add up to any precision."""


def evaluate(node: Node, request: Evaluate) -> tuple[Evaluation, dict[str, State]]:
    """Counts and sums over the node's own unseen clips, by candidate and branch.

    ``candidate.local 0``, ``candidate.local 1``, … are added up as "local", but the node's own as "own"; of each of
    them, only the number of correctly classified clips per class is returned as well. Sums, not means: the server adds
    them to those of the other nodes.
    """
    config, states = node.config, node.states
    if request.own:
        if (kept := recalled(node, request.own)) is None:
            return Evaluation(clips=0, figures={}, lacking=True), {}
        states = {f"{CANDIDATE}local {node.id}": kept, **states}
    clips = getattr(node.clips, config.evaluation.split)
    audio, labels = node.embeddings(clips)
    if not len(audio):
        return Evaluation(clips=0, figures={}), {}
    recordings = [clip.source or position for position, clip in enumerate(chain.from_iterable(clips.values()))]
    # Seeded with what only this node knows, and the same in every message, so that adapters can be compared.
    secret = seeds.generator("resamples", hashlib.sha256(audio.contiguous().numpy().data).hexdigest())
    weights = metrics.resamples(labels, recordings, generator=secret)
    totals: dict[str, Branches] = {}
    own: dict[str, Right] = {}
    with seeds.reproducible(config.seed, "evaluate", threads=config.threads):
        adapter = devices.moved(Adapter(request.spaces.shape, config.adapter), node.device)
        for name, state in states.items():
            if not name.startswith(CANDIDATE):
                continue
            load_into(adapter, state, f"the {name} the server sent")
            kind, _, trainer = name.removeprefix(CANDIDATE).partition(" ")
            kind = "own" if trainer == node.id else kind
            scores = _scores(node, adapter, audio, labels, weights)
            totals[kind] = totals[kind] + scores if kind in totals else scores
            if trainer:
                own[trainer] = Right(clip=_right(scores.clip), t5=_right(scores.t5))
    return Evaluation(
        clips=len(audio),
        figures=totals,
        recordings=len(set(zip(labels.tolist(), recordings, strict=True))),
        resampled=_rounded(weights.sum(1)),
        locals=own,
    ), {}


def _scores(node: Node, adapter: Adapter, audio: Tensor, labels: Tensor, weights: Tensor) -> Branches:
    """What one adapter scores on clips ``[N, S, D]`` of classes ``[N]``, which weigh ``[R, N]`` in the resamples."""
    outputs = adapt(adapter, audio)
    near, predicted = metrics.closeness(outputs, node.targets, labels), metrics.classify(outputs, node.targets)
    sums = {}
    for branch in BRANCHES:
        margins = metrics.margins(getattr(outputs, branch), getattr(node.targets, branch), labels)
        errors = near[branch]["mse"].double()
        if node.roots is not None:
            margins, errors = (margins.clamp_min(-1) * STEPS).round() / STEPS, errors.clamp_max(MOST_ERROR)
        sums[branch] = Sums(
            confusion=metrics.confusion(labels, predicted[branch], len(node.config.classes)).tolist(),
            cosine=near[branch]["cosine"].double().sum().item(),
            mse=errors.sum().item(),
            margin=margins.sum().item(),
            resampled=_rounded(weights @ (predicted[branch] == labels).double()),
            resampled_margin=_rounded(weights @ margins),
        )
    return Branches(**sums)


def _right(sums: Sums) -> list[int]:
    return [row[index] for index, row in enumerate(sums.confusion)]


def _rounded(values: Tensor) -> list[float]:
    """To what an interval needs: a hundredth of a clip."""
    return [round(value, 2) for value in values.tolist()]
