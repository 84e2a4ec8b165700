"""Adapters side by side, on the nodes' unseen clips: nodes count, the server adds up."""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from flwr.app import RecordDict
from torch import Tensor

from strategies.trust import weighed
from vegas_fl.algorithm import metrics
from vegas_fl.config import BRANCHES, Config
from vegas_fl.core import seeds
from vegas_fl.federation.checks import check_evaluation
from vegas_fl.federation.messages import Branches, Evaluate, Evaluation, Right, Sums, added
from vegas_fl.federation.nodes import Federation
from vegas_fl.federation.wire import Packed, Reply, half, packed_states
from vegas_fl.runs.record import Record
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.tensorfiles import State, digest

log = logging.getLogger("vegas_fl.server")

EVALUATION_BYTES = 128 * 10**6
"""Most bytes of adapters in one message (but at least one adapter): neither server nor nodes need to hold all that are
compared (``evaluation.local_nodes``)."""

LOCAL = ("own", "local")
"""Figures of a node's own adapter, and of those of others."""

LIMITS = {"accuracy": (0.0, 1.0), "gain": (-1.0, 1.0), "margin": (-math.inf, math.inf)}
"""Between what the figures lie that come with an interval; gain is accuracy above that of the nodes' own adapters."""


def evaluate(
    federation: Federation,
    record: Record,
    spaces: Spaces,
    round_: int,
    shared: Mapping[str, State],
    candidates: Iterable[tuple[str, State]],
    trainers: Sequence[str] = (),
) -> None:
    """Have every node score the candidates on its own clips; log and record the totals.

    Parameters
    ----------
    shared : mapping
        Tensors that go with every message: the text targets.
    candidates : iterable of (name, state)
        Adapters by name; "local 0", "local 1", … are added up as "local", and recorded by node too. The aggregated
        one travels in half precision, those that it is compared with in 8 bits
        (:func:`~vegas_fl.federation.wire.quartered`), and a node's own only if the node has not kept it.
    trainers : sequence of str
        The nodes whose own adapters are among the candidates.
    """
    config = federation.config
    scored = {node: scored_by(node, trainers, config.evaluation.local_nodes, round_) for node in config.nodes}
    batch: dict[str, State] = {}
    resent: set[str] = set()

    def check(node: str, reply: Reply[Evaluation]) -> str | None:
        if reply.values.lacking and node in resent:
            return "asks again for its own adapter, which it was sent"
        clips = getattr(federation.described.get(node), config.evaluation.split, {})
        held = {index: clips.get(label, 0) for index, label in enumerate(config.classes)}
        known = [trainer for trainer in scored[node] if f"local {trainer}" in batch]
        return check_evaluation(reply.values, _kinds(node, _asked(batch, scored[node])), held, known)

    answers: list[tuple[str, Evaluation]] = []
    for batch in _batches(candidates):
        resent.clear()
        packed = _packed(shared, batch, config.aggregation.name)

        def content(node: str, kept: bool, batch: dict[str, State] = batch, packed: Packed = packed) -> RecordDict:
            own = f"local {node}" if kept and f"local {node}" in batch and node in scored[node] else ""
            names = [f"candidate.{name}" for name in _asked(batch, scored[node]) if name != own]
            request = Evaluate(spaces=spaces, own=digest(half(batch[own])) if own else "")
            chosen = {name: packed[name] for name in [*names, *shared]}
            if not kept:  # precisely what the node would have kept
                chosen |= packed_states({f"candidate.local {node}": batch[f"local {node}"]}, "float16")
            return request.content(config, packed=chosen)

        def again(node: str, reply: Reply[Evaluation]) -> RecordDict | None:
            if not reply.values.lacking:
                return None
            resent.add(node)
            return content(node, kept=False)

        asked = [node for node in federation.nodes.values() if _asked(batch, scored[node])]
        contents = {node: content(node, kept=True) for node in asked}
        replies = federation.ask(Evaluate, contents, f"evaluation, round {round_}", check, round_, again)
        answers += [(node, answer.values) for node, answer in replies.items()]
    _record(federation, record, round_, answers, {node: _weight(node, trainers, scored[node]) for node in scored})


def _packed(shared: Mapping[str, State], batch: Mapping[str, State], precise: str) -> Packed:
    """What is sent of a batch: of one candidate in half precision, of those it is compared with in 8 bits."""
    packed = packed_states(shared)
    for name, state in batch.items():
        packed |= packed_states({f"candidate.{name}": state}, "float16" if name == precise else "int8")
    return packed


def scored_by(node: str, trainers: Sequence[str], most: int, round_: int) -> list[str]:
    """Whose adapters ``node`` scores: its own, and those of up to ``most`` - 1 others, which change with the round."""
    own = [node] if node in trainers else []
    others = sorted(set(trainers) - {node}, key=lambda other: (int(other) <= int(node), int(other)))  # from the next
    count = min(most - len(own), len(others))
    start = (round_ - 1) * count % len(others) if others else 0
    return own + (others[start:] + others[:start])[:count]


def _weight(node: str, trainers: Sequence[str], scored: Sequence[str]) -> float:
    """How many of the others' adapters each of those stands for that ``node`` scores."""
    others, known = set(trainers) - {node}, set(scored) - {node}
    return len(others) / len(known) if known else 0.0


def _asked(batch: Mapping[str, State], scored: Sequence[str]) -> list[str]:
    """The candidates of a batch that a node scores."""
    return [name for name in batch if " " not in name or name.partition(" ")[2] in scored]


def _kinds(node: str, names: Iterable[str]) -> dict[str, int]:
    """How many candidates of each kind ``node`` scores: "own", "local", and the shared ones by name."""
    parts = [name.partition(" ") for name in names]
    return dict(Counter("own" if trainer == node else kind for kind, _, trainer in parts))


def _batches(candidates: Iterable[tuple[str, State]]) -> Iterator[dict[str, State]]:
    """The candidates, as many at a time as fit into one message."""
    batch: dict[str, State] = {}
    for name, state in candidates:
        size = sum(tensor.nbytes for one in (*batch.values(), state) for tensor in one.values()) // 2
        if batch and size > EVALUATION_BYTES:
            yield batch
            batch = {}
        batch[name] = state
    yield batch


def _record(
    federation: Federation,
    record: Record,
    round_: int,
    answers: Sequence[tuple[str, Evaluation]],
    stands_for: Mapping[str, float],
) -> None:
    """Add up what the nodes counted, and turn it into figures. ``stands_for``: :func:`_weight` of each node."""
    claims, answers = _capped(answers, federation.config)
    totals: dict[str, Branches] = {}
    clips: dict[str, list[float]] = {}
    recordings: dict[str, dict[str, float]] = {}
    drawn = _drawn_nodes([node for node, reply in answers if "local" in reply.figures], federation.config.seed, round_)
    for node, reply in answers:
        for key, scores in reply.figures.items():
            name, weight = ("local", 1.0) if key == "own" else (key, stands_for[node] if key == "local" else 1.0)
            adapters = sum(map(sum, scores.clip.confusion)) / (reply.clips or 1)  # "local" is of several
            weighted, resampled = scores, reply.resampled
            if key == "local":
                factors = drawn[node] if weight > 1 else [1.0] * len(reply.resampled)
                resampled = [n * adapters * weight * f for n, f in zip(reply.resampled, factors, strict=False)]
                weighted = scores.times(weight, factors)
            totals[name] = totals[name] + weighted if name in totals else weighted
            clips[name] = added(clips[name], resampled) if name in clips else resampled
            recordings.setdefault(name, {})[node] = reply.recordings  # the same in each of a node's replies
    accuracies: dict[str, list[float]] = {}
    for branch in BRANCHES:
        shares: dict[str, Tensor] = {}
        for name in sorted(totals, key=lambda name: name != "local"):
            sums: Sums = getattr(totals[name], branch)
            figures = _figures(sums, federation.config.classes)
            if name != "local":  # of which nodes score different adapters
                figures |= _without_largest(answers, claims, name, branch)
            if clips[name] and len(clips[name]) == len(sums.resampled) == len(sums.resampled_margin):
                counted, right, margin = map(_doubles, (clips[name], sums.resampled, sums.resampled_margin))
                shares[name] = right / counted
                spreads = {"accuracy": shares[name], "margin": margin / counted}
                if name != "local" and "local" in shares:
                    counts = torch.tensor(getattr(totals["local"], branch).confusion)
                    figures["gain"] = figures["accuracy"] - (counts.trace() / counts.sum()).item()
                    spreads["gain"] = shares[name] - shares["local"]
                figures["recordings"] = max(1, round(sum(recordings[name].values())))
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
    _record_by_node(federation.config, record, round_, [reply for _, reply in answers], totals)
    shown = ", ".join(f"{name} {'/'.join(f'{value:.3f}' for value in row)}" for name, row in accuracies.items())
    if len(federation.config.classes) > 1:  # of one class, every answer is right
        log.info("round %d, accuracy on unseen clips (clip/t5): %s", round_, shown)
    record.page()


def _capped(
    answers: Sequence[tuple[str, Evaluation]], config: Config
) -> tuple[dict[str, int], list[tuple[str, Evaluation]]]:
    """The clips that nodes claim, and their answers as if of as many as they count by."""
    claims: dict[str, int] = {}
    for node, reply in answers:
        claims[node] = max(claims.get(node, 0), reply.clips)
    weights = weighed({node: claim for node, claim in claims.items() if claim}, config, "unseen clips")
    return claims, [(node, _times(reply, weights.get(node, 1) / (claims[node] or 1))) for node, reply in answers]


def _times(reply: Evaluation, weight: float) -> Evaluation:
    """All counts and sums of a reply, multiplied, as if of fewer clips."""
    if weight == 1:
        return reply
    right = {
        trainer: Right.model_construct(clip=[weight * n for n in of.clip], t5=[weight * n for n in of.t5])
        for trainer, of in reply.locals.items()
    }
    return reply.model_copy(
        update={
            "clips": weight * reply.clips,
            "recordings": weight * reply.recordings,
            "resampled": [weight * count for count in reply.resampled],
            "figures": {name: branches.times(weight) for name, branches in reply.figures.items()},
            "locals": right,
        }
    )


def _drawn_nodes(nodes: Sequence[str], seed: int, round_: int) -> dict[str, list[float]]:
    """How much each node weighs in each resample, where nodes are drawn as well as recordings: each scores another
    choice of adapters (:func:`scored_by`), and "local" is to hold for all of them."""
    nodes = sorted(set(nodes))
    if not nodes:
        return {}
    generator = seeds.generator(seed, "resampled nodes", round_)
    weights = metrics.resamples(torch.zeros(len(nodes)), range(len(nodes)), generator=generator)
    return {node: weights[:, index].tolist() for index, node in enumerate(nodes)}


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
        "confusion": [[round(count) for count in row] for row in sums.confusion],
    }


def _without_largest(
    answers: Sequence[tuple[str, Evaluation]], claims: Mapping[str, int], name: str, branch: str
) -> dict[str, Any]:
    """The node that claims the most clips, which nobody can check, and the accuracy on the clips of all others."""
    counts = {
        node: torch.tensor(getattr(reply.figures[name], branch).confusion, dtype=torch.float64)
        for node, reply in answers
        if name in reply.figures
    }
    if len(counts) < 2:
        return {}
    largest = max(counts, key=lambda node: claims[node])
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
            local = [
                torch.tensor([getattr(reply.figures[n], branch).confusion for n in LOCAL if n in reply.figures]).sum(0)
                for reply in scored
            ]
            held = torch.stack([c.sum(1) / len(reply.locals) for c, reply in zip(local, scored, strict=True)]).sum(0)
            line: dict[str, Any] = {"node": node, "branch": branch}
            for whose, among in (("own", owned), ("others", ~owned)):
                if count := round(held[among].sum().item()):
                    line |= {f"{whose}_clips": count, whose: right[among].sum().item() / held[among].sum().item()}
                    if shared is not None:
                        counts = torch.tensor(getattr(shared, branch).confusion)[among]
                        line[f"{whose}_shared"] = (counts[:, among].trace() / counts.sum()).item()
            record.add(stage="own adapter", round=round_, **line)
