"""The stages of a run around the adapters' strategy: generators before it, pictures after it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import torch

from strategies.federation import Federation, Reply
from strategies.record import Record
from vegas_fl import metrics
from vegas_fl.adapters import Conditioning
from vegas_fl.checkpoints import (
    GENERATOR_FILES,
    Spaces,
    find_generators,
    load_adapter,
    load_class_generator,
    sampler_header,
    save_class_generator,
    set_aside,
)
from vegas_fl.engines.messages import GENERATE, TRAIN_GENERATOR
from vegas_fl.errors import VegasError
from vegas_fl.generators import build_sampler
from vegas_fl.judge import fid, reference_features
from vegas_fl.preflight import adapter_files
from vegas_fl.tensorfiles import State, misfit

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


def render(federation: Federation, record: Record, targets: Conditioning | None) -> None:
    """Each node renders its pictures with its own generators and the chosen adapters."""
    config = federation.config
    paths = find_generators(Path(config.generator.checkpoint_dir))
    contents = {}
    for node in federation.nodes.values():
        adapter = load_adapter(adapter_files(config, node))
        states: dict[str, State] = {"adapter": adapter.state}
        headers = {}
        for label in config.nodes[node].selected_classes:
            shared = load_class_generator(paths[label], adapter.header["spaces"]["audio"])
            states[f"generator.{label}"] = shared.of(node).state_dict()
            headers[label] = shared.header
        if targets is not None and "text" in config.conditioning.model_dump().values():
            states["targets"] = targets._asdict()
        contents[node] = federation.content(
            states,
            generators=headers,
            adapter=adapter.header,
            adapter_sha256={f"{branch}_adapter": sha256 for branch, sha256 in adapter.sha256.items()},
        )
    replies = federation.ask(GENERATE, contents, "pictures", lambda node, reply: None)
    for node, reply in replies.items():
        values = reply.values
        for note in values["notes"]:
            log.info("%s", note)
        new = f", {values['rendered']} of them new" if values["rendered"] < values["pictures"] else ""
        log.info("node %s: %d pictures in %s%s", node, values["pictures"], values["folder"], new)
        record.add(stage="images", node=node, **{k: values[k] for k in ("pictures", "rendered", "folder")})
    _record_judgement(federation, record, [reply for reply in replies.values() if reply.values["judged"]])


def _record_judgement(federation: Federation, record: Record, judged: list[Reply]) -> None:
    """Add up what the nodes' judges counted; compare with real pictures if there are any."""
    config, classes = federation.config, federation.config.judge_classes
    if not judged:
        return
    counts = torch.stack([torch.tensor(reply.values["judged"]["confusion"]) for reply in judged]).sum(0)
    total = int(counts.sum())
    figures = metrics.summary(counts, classes)
    figures["clip_score"] = sum(reply.values["judged"]["clip_score"] for reply in judged) / total
    if config.evaluation.reference:
        try:
            real = reference_features(config)
            figures["fid"] = fid([reply.states["pictures"]["features"] for reply in judged], real)
        except VegasError as error:  # the pictures are there; only their figure is missing
            log.warning("the pictures were not compared with real ones: %s", error)
    record.add(stage="judge", classes=classes, **figures, confusion=counts.tolist())
    log.info("pictures judged right: %.3f of %d (zero-shot among %d classes)", figures["accuracy"], total, len(classes))
    beside = f", FID {figures['fid']:.3f} on the judge's features" if "fid" in figures else ""
    log.info("CLIP score of the pictures: %.1f%s", figures["clip_score"], beside)
