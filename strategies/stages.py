"""The stage before the adapters' strategy: generators."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from strategies.federation import Federation, Reply
from strategies.record import Record
from vegas_fl.checkpoints import (
    GENERATOR_FILES,
    Spaces,
    sampler_header,
    save_class_generator,
    set_aside,
)
from vegas_fl.engines.messages import TRAIN_GENERATOR
from vegas_fl.generators import build_sampler
from vegas_fl.tensorfiles import misfit

log = logging.getLogger("vegas_fl.server")


def train_generators(federation: Federation, record: Record, spaces: Spaces) -> None:
    """Each node trains a generator a class; what the owners of a class share is saved as one checkpoint."""
    config = federation.config
    folder = Path(config.generator.checkpoint_dir)
    like = build_sampler(spaces.audio_tokens, spaces.audio_width, config.generator).state_dict()

    def problem(node: str, reply: Reply) -> str | None:
        owned = reply.values["samples"]
        if strange := set(owned) - set(config.nodes[node].selected_classes):
            return f"it answered for classes it does not own: {', '.join(sorted(strange))}"
        if set(reply.states) != {f"generator.{label}" for label in owned}:
            return f"it sent {', '.join(sorted(reply.states)) or 'nothing'} for its classes {', '.join(owned)}"
        for name, state in reply.states.items():
            if reason := misfit(state, like):
                return f"its {name} cannot be used: {reason}"
        return None

    content = federation.content(spaces=asdict(spaces))
    contents = dict.fromkeys(federation.nodes.values(), content)
    replies = federation.ask(TRAIN_GENERATOR, contents, "generators", problem)
    if moved := set_aside(folder, GENERATOR_FILES):
        log.info("generators of an earlier training were moved to %s: %s", folder / "previous", ", ".join(moved))
    header = sampler_header(spaces, config.generator)
    for label in config.classes:
        owners = {node: reply for node, reply in replies.items() if label in reply.values["samples"]}
        if not owners:
            continue
        states = {node: reply.states[f"generator.{label}"] for node, reply in owners.items()}
        samples = {node: reply.values["samples"][label] for node, reply in owners.items()}
        path = save_class_generator(folder, 1, label, states, samples, header)
        log.info("generator of %s: %s", label, path)
        for node, reply in owners.items():
            record.add(
                stage="generators",
                node=node,
                label=label,
                clips=samples[node],
                training=reply.values["metrics"][label],
            )
