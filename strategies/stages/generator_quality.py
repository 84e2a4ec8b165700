"""How good the generators are, measured by the nodes that have recordings to compare with."""

import logging
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from flwr.app import RecordDict

from strategies.trust import weighed
from vegas_fl.federation.checks import check_quality
from vegas_fl.federation.messages import EvaluateGenerators, Figures, GeneratorQuality, Header
from vegas_fl.federation.nodes import Federation
from vegas_fl.federation.wire import Reply
from vegas_fl.runs.record import Record
from vegas_fl.runs.report.answers import generator
from vegas_fl.storage.generators import load_class_generator
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.names import find_generators
from vegas_fl.storage.tensorfiles import State

log = logging.getLogger("vegas_fl.server")


def evaluate_generators(federation: Federation, record: Record, spaces: Spaces) -> None:
    """Each node compares its own generators with its own clips; the mean over a class's owners is recorded, weighted by
    their held-out clips."""
    federation.muster()
    config = federation.config
    contents, asked = _requests(federation, spaces)

    def check(node: str, reply: Reply[GeneratorQuality]) -> str | None:
        described = federation.described.get(node)
        return check_quality(reply.values, described, config.evaluation.split, asked[node])

    replies = federation.ask(EvaluateGenerators, contents, "evaluation of the generators", check)
    recorded: dict[str, Figures] = {}
    for label in sorted({label for own in asked.values() for label in own}):
        owners = {node: reply.values for node, reply in replies.items() if label in reply.values.figures}
        answers = list(owners.values())
        if not answers:
            log.info("generator of %s: no held-out clip to compare with", label)
            continue
        held_out = {node: answer.held_out[label] for node, answer in owners.items()}
        weights = weighed(held_out, config, f"held-out clips of {label}")
        recorded[label] = {
            name: _mean((answer.figures[label][name], weights[node]) for node, answer in owners.items())
            for name in answers[0].figures[label]
        }
        record.add(
            stage="generator quality",
            label=label,
            samples=sum(answer.samples[label] for answer in answers),
            held_out=sum(held_out.values()),
            **recorded[label],
        )
    if recorded:
        log.info("generators beside real clips, %d classes: %s", len(recorded), _summary(list(recorded.values())))
    for label, figures in recorded.items():
        log.info("generator of %s: %s (%s)", label, *generator(figures))


def _requests(federation: Federation, spaces: Spaces) -> tuple[dict[str, RecordDict], dict[str, set[str]]]:
    """What each node is sent (its samplers, and the mean embedding of every class), and the classes it is asked for."""
    config = federation.config
    found = find_generators(Path(config.generator.checkpoint_dir))
    means: State = {}
    states: dict[str, dict[str, State]] = {}
    headers: dict[str, dict[str, Header]] = {}
    for label in (label for label in config.classes if label in found):
        shared = load_class_generator(found[label], spaces.audio)
        means[label] = shared.mean()
        selecting = [node for node in federation.nodes.values() if label in config.nodes[node].selected_classes]
        # Who selects a class may own nothing of it. If none of them trained it, other nodes than today's did.
        for node in [node for node in selecting if node in shared.samplers] or selecting:
            states.setdefault(node, {})[f"generator.{label}"] = shared.of(node).state_dict()
            headers.setdefault(node, {})[label] = shared.header
    contents = {
        node: EvaluateGenerators(generators=headers[node]).content(config, {"class means": means, **states[node]})
        for node in states
    }
    return contents, {node: set(own) for node, own in headers.items()}


def _mean(weighted: Iterable[tuple[float | None, int]]) -> float | None:
    """Weighted mean of the values that are known."""
    known = [(value, weight) for value, weight in weighted if value is not None]
    return sum(v * w for v, w in known) / sum(w for _, w in known) if known else None


def _summary(rows: list[Figures]) -> str:
    """Means over the classes of the main figures, each with what real clips score."""
    parts = []
    for name in ("frechet", "recall", "diversity", "purity", "nearest"):
        pairs = [
            (own, real)
            for row in rows
            if (own := row[name]) is not None and (real := row[f"{name}_ceiling"]) is not None
        ]
        if pairs:
            own, real = (fmean(column) for column in zip(*pairs, strict=True))
            parts.append(f"{name} {own:.3f} ({real:.3f})")
    return ", ".join(parts)
