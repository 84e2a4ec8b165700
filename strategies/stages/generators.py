"""The stage before the adapters' strategy: generators."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import torch

from vegas_fl.algorithm.generators import build_sampler
from vegas_fl.federation.checks import absurd, odd_counts, odd_training
from vegas_fl.federation.exchange import Reply
from vegas_fl.federation.messages import TRAIN_GENERATOR
from vegas_fl.federation.nodes import Federation
from vegas_fl.runs.record import Record
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.generators import sampler_header, save_class_generator
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.names import GENERATOR_FILES, find_generators, set_aside
from vegas_fl.storage.tensorfiles import State, misfit

log = logging.getLogger("vegas_fl.server")

DRAWN = 8
"""Samples that a generator has to give before it is kept."""


def train_generators(federation: Federation, record: Record, spaces: Spaces) -> None:
    """Each node trains a generator a class; what the owners of a class share is saved as one checkpoint."""
    config = federation.config
    folder = Path(config.generator.checkpoint_dir)
    like = build_sampler(spaces.audio_tokens, spaces.audio_width, config.generator).state_dict()

    def undrawable(state: State) -> str | None:
        """Why nothing can be drawn from a sampler: its prior's weights and spreads may be no density's."""
        sampler = build_sampler(spaces.audio_tokens, spaces.audio_width, config.generator)
        sampler.load_state_dict(state)
        try:
            drawn = sampler.eval().sample(DRAWN, generator=torch.Generator().manual_seed(0))
        except RuntimeError as error:
            return f"nothing can be drawn from it ({error})"
        return None if bool(torch.isfinite(drawn).all()) else "what is drawn from it is not finite"

    def problem(node: str, reply: Reply) -> str | None:
        if problem := odd_counts(reply.values, federation.described(node), config.nodes[node]):
            return problem
        owned = reply.values["samples"]
        if set(reply.states) != {f"generator.{label}" for label in owned}:
            return f"it sent {', '.join(sorted(reply.states)) or 'nothing'} for its classes {', '.join(owned)}"
        for name, state in reply.states.items():
            if reason := misfit(state, like) or absurd(state, like, config.federation.max_norm) or undrawable(state):
                return f"its {name} cannot be used: {reason}"
        return next(filter(None, (odd_training(reply.values["metrics"].get(label)) for label in owned)), None)

    federation.muster()
    contents = dict.fromkeys(
        federation.nodes.values(), federation.content(spaces=asdict(spaces), training=record.progress.id)
    )
    replies = federation.ask(TRAIN_GENERATOR, contents, "generators", problem)
    trained = {label for reply in replies.values() for label in reply.values["samples"]}
    found = find_generators(folder)
    if kept := sorted(label for label in config.classes if label not in trained and label in found):
        log.warning("no owner of %s answered: the generators of an earlier training are kept", ", ".join(kept))
    first = not record.progress.begun("generators")
    moved = set_aside(folder, GENERATOR_FILES, keep=[found[label] for label in kept]) if first else []
    record.progress.begin("generators")
    if moved:
        log.info("generators of an earlier training were moved to %s: %s", folder / "previous", ", ".join(moved))
    header = sampler_header(spaces, config.generator)
    files = [found[label] for label in kept]
    for label in config.classes:
        owners = {node: reply for node, reply in replies.items() if label in reply.values["samples"]}
        if not owners:
            continue
        states = {node: reply.states[f"generator.{label}"] for node, reply in owners.items()}
        samples = {node: reply.values["samples"][label] for node, reply in owners.items()}
        path = save_class_generator(folder, 1, label, states, samples, header)
        files.append(path)
        log.info("generator of %s: %s", label, path)
        for node, reply in owners.items():
            record.add(
                stage="generators",
                node=node,
                label=label,
                clips=samples[node],
                training=reply.values["metrics"][label],
            )
    record.done("generators", {path: tensorfiles.load_header(path)["sha256"] for path in files})
