"""Adapters side by side, on the nodes' unseen clips: nodes count, the server adds up."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

import torch

from vegas_fl.algorithm import metrics
from vegas_fl.config import BRANCHES
from vegas_fl.federation.checks import check_evaluation
from vegas_fl.federation.messages import Branches, Evaluate, Evaluation, Sums
from vegas_fl.federation.nodes import Federation
from vegas_fl.federation.wire import Reply
from vegas_fl.runs.record import Record
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.tensorfiles import State

log = logging.getLogger("vegas_fl.server")

EVALUATION_BYTES = 128 * 10**6
"""Most bytes of adapters in one message (but at least one adapter): neither server nor nodes need to hold all that are
compared (``evaluation.local_nodes``)."""


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
        Adapters by name, all between ``spaces``; "local 0", "local 1", … are added up as "local".
    """
    config = federation.config
    sent: dict[str, int] = {}

    def check(node: str, reply: Reply[Evaluation]) -> str | None:
        described = federation.described.get(node)
        clips = getattr(described, config.evaluation.split) if described else {}
        held = {index: clips.get(label, 0) for index, label in enumerate(config.classes)}
        return check_evaluation(reply.values, sent, held)

    replies: list[Evaluation] = []
    for batch in _batches(candidates):
        sent.clear()
        for name in batch:
            sent[name.partition(" ")[0]] = sent.get(name.partition(" ")[0], 0) + 1
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


def _record(federation: Federation, record: Record, round_: int, replies: Iterable[Evaluation]) -> None:
    """Add up what the nodes counted, and turn it into figures."""
    classes = federation.config.classes
    totals: dict[str, Branches] = {}
    for reply in replies:
        for name, scores in reply.figures.items():
            totals[name] = totals[name] + scores if name in totals else scores
    accuracies: dict[str, list[float]] = {}
    for name, total in totals.items():
        for branch in BRANCHES:
            sums: Sums = getattr(total, branch)
            counts = torch.tensor(sums.confusion)
            figures = metrics.summary(counts, classes)
            record.add(
                stage="evaluation",
                round=round_,
                adapter=name,
                branch=branch,
                **figures,
                cosine=sums.cosine / int(counts.sum()),
                mse=sums.mse / int(counts.sum()),
                classes=classes,
                confusion=sums.confusion,
            )
            accuracies.setdefault(name, []).append(figures["accuracy"])
    shown = ", ".join(f"{name} {'/'.join(f'{value:.3f}' for value in row)}" for name, row in accuracies.items())
    if len(classes) > 1:  # of one class, every answer is right
        log.info("round %d, accuracy on unseen clips (clip/t5): %s", round_, shown)
    record.page()
