"""How good the generators are, asked of the nodes that have the recordings to compare with."""

from __future__ import annotations

import logging
from pathlib import Path
from statistics import fmean
from typing import Any

from vegas_fl.algorithm.fidelity import FidelityMetrics
from vegas_fl.federation.checks import odd_quality
from vegas_fl.federation.exchange import Reply
from vegas_fl.federation.messages import EVALUATE_GENERATOR
from vegas_fl.federation.nodes import Federation
from vegas_fl.runs.record import Record
from vegas_fl.storage.generators import load_class_generator
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.names import find_generators
from vegas_fl.storage.tensorfiles import State

log = logging.getLogger("vegas_fl.server")

COPIES = 0.5
"""Samples whose median distance to the training clips is this share of new recordings' are told of as copies."""


def evaluate_generators(federation: Federation, record: Record, spaces: Spaces) -> None:
    """Each node compares its own generators with its own clips; of a class, the mean over its owners is recorded.

    What is sent: to every node its samplers, and the mean embedding of every class, which the samplers hold; back
    come figures. Owners count by their held-out clips.
    """
    federation.muster()
    config = federation.config
    found = find_generators(Path(config.generator.checkpoint_dir))
    paths = {label: found[label] for label in config.classes if label in found}
    means: State = {}
    asked: dict[str, dict[str, tuple[State, dict[str, Any]]]] = {}
    for label, path in paths.items():
        shared = load_class_generator(path, spaces.audio)
        means[label] = shared.mean()
        selecting = [node for node in federation.nodes.values() if label in config.nodes[node].selected_classes]
        # Who selects a class may own nothing of it. If none of them trained it, other nodes than today's did.
        for node in [node for node in selecting if node in shared.samplers] or selecting:
            asked.setdefault(node, {})[label] = shared.of(node).state_dict(), shared.header
    contents = {
        node: federation.content(
            {"class means": means, **{f"generator.{label}": state for label, (state, _) in own.items()}},
            generators={label: header for label, (_, header) in own.items()},
        )
        for node, own in asked.items()
    }

    def problem(node: str, reply: Reply) -> str | None:
        return odd_quality(reply.values, federation.described(node), config.evaluation.split, asked[node])

    replies = federation.ask(EVALUATE_GENERATOR, contents, "evaluation of the generators", problem)
    recorded: dict[str, FidelityMetrics] = {}
    for label in paths:
        answers = [reply.values for reply in replies.values() if label in reply.values["figures"]]
        if not answers:
            log.info("generator of %s: no held-out clip to compare with", label)
            continue
        figures = {
            name: _mean([(answer["figures"][label][name], answer["held_out"][label]) for answer in answers])
            for name in answers[0]["figures"][label]
        }
        samples = sum(answer["samples"][label] for answer in answers)
        record.add(
            stage="generator quality",
            label=label,
            samples=samples,
            held_out=sum(answer["held_out"][label] for answer in answers),
            **figures,
        )
        recorded[label] = figures
    if recorded:
        log.info("generators beside real clips, %d classes: %s", len(recorded), _told(list(recorded.values())))
    for label, figures in recorded.items():
        own, real = figures["nearest"], figures["nearest_ceiling"]
        if own is not None and real and own < COPIES * real:
            log.warning(
                "generator of %s: its samples lie %.2g from the nearest training clip, new recordings %.2g: they are "
                "close to copies; train it on more clips, for fewer epochs, or with more noise",
                label,
                own,
                real,
            )


def _mean(weighted: list[tuple[float | None, int]]) -> float | None:
    """Mean by weight of the values there are."""
    there = [(value, weight) for value, weight in weighted if value is not None]
    return sum(v * w for v, w in there) / sum(w for _, w in there) if there else None


def _told(rows: list[FidelityMetrics]) -> str:
    """Means over the classes of the figures a reader looks at first, each with what real clips score."""
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
