"""Adapters side by side, on the nodes' unseen clips: nodes count, the server adds up."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vegas_fl.algorithm import metrics
from vegas_fl.config import BRANCHES, Config
from vegas_fl.federation.checks import check_evaluation
from vegas_fl.federation.messages import Branches, Evaluate, Evaluation, Sums, added
from vegas_fl.federation.nodes import Federation
from vegas_fl.federation.wire import Reply
from vegas_fl.runs.record import Record
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.tensorfiles import State

log = logging.getLogger("vegas_fl.server")

EVALUATION_BYTES = 128 * 10**6
"""Most bytes of adapters in one message (but at least one adapter): neither server nor nodes need to hold all that are
compared (``evaluation.local_nodes``)."""

LIMITS = {"accuracy": (0.0, 1.0), "gain": (-1.0, 1.0), "margin": (-math.inf, math.inf)}
"""Between what the figures lie that come with an interval; gain is accuracy above that of the nodes' own adapters."""


def evaluate(
    federation: Federation,
    record: Record,
    spaces: Spaces,
    round_: int,
    shared: Mapping[str, State],
    candidates: Iterable[tuple[str, State]],
) -> None:
    """Have every node score the candidates on its own clips; log and record the totals.

    Parameters
    ----------
    shared : mapping
        Tensors that go with every message: the text targets.
    candidates : iterable of (name, state)
        Adapters by name; "local 0", "local 1", … are added up as "local", and recorded by node too.
    """
    config = federation.config
    sent: dict[str, int] = {}
    trainers: list[str] = []

    def check(node: str, reply: Reply[Evaluation]) -> str | None:
        described = federation.described.get(node)
        clips = getattr(described, config.evaluation.split) if described else {}
        held = {index: clips.get(label, 0) for index, label in enumerate(config.classes)}
        return check_evaluation(reply.values, sent, held, trainers)

    replies: list[Evaluation] = []
    for batch in _batches(candidates):
        sent.clear()
        trainers.clear()
        for kind, _, trainer in (name.partition(" ") for name in batch):
            sent[kind] = sent.get(kind, 0) + 1
            trainers += [trainer] * bool(trainer)
        states = {f"candidate.{name}": state for name, state in batch.items()}
        content = Evaluate(spaces=spaces).content(config, {**states, **shared})
        contents = dict.fromkeys(federation.nodes.values(), content)
        answers = federation.ask(Evaluate, contents, f"evaluation, round {round_}", check, round_)
        replies += [answer.values for answer in answers.values()]
    _record(federation, record, round_, replies)


def _batches(candidates: Iterable[tuple[str, State]]) -> Iterator[dict[str, State]]:
    """The candidates, as many at a time as fit into one message."""
    batch: dict[str, State] = {}
    for name, state in candidates:
        size = sum(tensor.nbytes for one in (*batch.values(), state) for tensor in one.values())
        if batch and size > EVALUATION_BYTES:
            yield batch
            batch = {}
        batch[name] = state
    yield batch


def _record(federation: Federation, record: Record, round_: int, replies: Sequence[Evaluation]) -> None:
    """Add up what the nodes counted, and turn it into figures."""
    totals: dict[str, Branches] = {}
    clips: dict[str, list[float]] = {}
    recordings: dict[str, dict[str | None, int]] = {}
    for reply in replies:
        for name, scores in reply.figures.items():
            adapters = sum(map(sum, scores.clip.confusion)) / (reply.clips or 1)  # "local" is of several
            resampled = [n * adapters for n in reply.resampled]
            totals[name] = totals[name] + scores if name in totals else scores
            clips[name] = added(clips[name], resampled) if name in clips else resampled
            recordings.setdefault(name, {})[reply.node] = reply.recordings  # the same in each of a node's replies
    accuracies: dict[str, list[float]] = {}
    for branch in BRANCHES:
        shares: dict[str, Tensor] = {}
        for name in sorted(totals, key=lambda name: name != "local"):
            sums: Sums = getattr(totals[name], branch)
            figures = _figures(sums, federation.config.classes) | _without_largest(replies, name, branch)
            if clips[name] and len(clips[name]) == len(sums.resampled) == len(sums.resampled_margin):
                weights, right, margin = map(_doubles, (clips[name], sums.resampled, sums.resampled_margin))
                shares[name] = right / weights
                spreads = {"accuracy": shares[name], "margin": margin / weights}
                if name != "local" and "local" in shares:
                    counts = torch.tensor(getattr(totals["local"], branch).confusion)
                    figures["gain"] = figures["accuracy"] - (counts.trace() / counts.sum()).item()
                    spreads["gain"] = shares[name] - shares["local"]
                figures["recordings"] = sum(recordings[name].values())
                for key in [key for key in spreads if key in figures]:
                    around = figures[key], spreads[key], figures["recordings"]
                    figures[f"{key}_interval"] = metrics.interval(*around, *LIMITS[key])
            record.add(stage="evaluation", round=round_, adapter=name, branch=branch, **figures)
            accuracies.setdefault(name, []).append(figures["accuracy"])
            if abs(figures["accuracy"] - figures.get("accuracy_without_largest", figures["accuracy"])) > 0.25:
                log.warning(
                    "round %d: the accuracy of %s (%s) is %.3f, and %.3f without node %s, which claims the most clips",
                    *(round_, name, branch, figures["accuracy"]),
                    *(figures["accuracy_without_largest"], figures["largest"]),
                )
    _record_by_node(federation.config, record, round_, replies, totals)
    shown = ", ".join(f"{name} {'/'.join(f'{value:.3f}' for value in row)}" for name, row in accuracies.items())
    if len(federation.config.classes) > 1:  # of one class, every answer is right
        log.info("round %d, accuracy on unseen clips (clip/t5): %s", round_, shown)
    record.page()


def _doubles(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _figures(sums: Sums, classes: Sequence[str]) -> dict[str, Any]:
    """What the sums of one branch of an adapter mean."""
    count = sum(map(sum, sums.confusion))
    return {
        **metrics.summary(torch.tensor(sums.confusion), classes),
        "cosine": sums.cosine / count,
        "mse": sums.mse / count,
        **({} if sums.margin is None or len(classes) == 1 else {"margin": sums.margin / count}),
        "classes": classes,
        "confusion": sums.confusion,
    }


def _without_largest(replies: Sequence[Evaluation], name: str, branch: str) -> dict[str, Any]:
    """The node that claims the most clips, which nobody can check, and the accuracy on the clips of all others."""
    counts = {
        reply.node: torch.tensor(getattr(reply.figures[name], branch).confusion, dtype=torch.float64)
        for reply in replies
        if name in reply.figures
    }
    if len(counts) < 2 or name == "local":
        return {}
    largest = max(counts, key=lambda node: counts[node].sum().item())
    others = torch.stack([matrix for node, matrix in counts.items() if node != largest]).sum(0)
    return {"largest": largest, "accuracy_without_largest": (others.trace() / others.sum()).item()}


def _record_by_node(
    config: Config, record: Record, round_: int, replies: Sequence[Evaluation], totals: Mapping[str, Branches]
) -> None:
    """For each node: its own adapter and the aggregated one, on clips of its own classes and of the others' (those of
    all nodes)."""
    shared = totals.get(config.aggregation.name)
    for node in sorted({node for reply in replies for node in reply.locals}, key=int):
        scored = [reply for reply in replies if node in reply.locals]
        owned = torch.tensor([label in config.nodes[node].selected_classes for label in config.classes])
        for branch in BRANCHES:
            right = torch.tensor([getattr(reply.locals[node], branch) for reply in scored]).sum(0)
            local = [torch.tensor(getattr(reply.figures["local"], branch).confusion) for reply in scored]
            held = torch.stack([c.sum(1) // len(reply.locals) for c, reply in zip(local, scored, strict=True)]).sum(0)
            line: dict[str, Any] = {"node": node, "branch": branch}
            for whose, among in (("own", owned), ("others", ~owned)):
                if count := int(held[among].sum()):
                    line |= {f"{whose}_clips": count, whose: int(right[among].sum()) / count}
                    if shared is not None:
                        counts = torch.tensor(getattr(shared, branch).confusion)[among]
                        line[f"{whose}_shared"] = (counts[:, among].trace() / counts.sum()).item()
            record.add(stage="own adapter", round=round_, **line)
