"""The first stage: a generator per class."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from strategies.trust import weighed
from vegas_fl.algorithm.generators import build_sampler
from vegas_fl.algorithm.generators import train_generators as train
from vegas_fl.algorithm.trust import Owned, capped, judge_generators
from vegas_fl.audio.encoders.labels import preference
from vegas_fl.config import Config
from vegas_fl.core import seeds
from vegas_fl.core.devices import resolve_device
from vegas_fl.data.classes import words
from vegas_fl.federation.checks import check_norm, check_samples
from vegas_fl.federation.messages import TrainedGenerators, TrainGenerators
from vegas_fl.federation.nodes import Federation
from vegas_fl.federation.wire import Reply
from vegas_fl.runs.record import Record
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.generators import ClassGenerator, class_generator_from, sampler_header, save_class_generator
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.names import GENERATOR_FILES, find_generators, set_aside
from vegas_fl.storage.tensorfiles import State, misfit

log = logging.getLogger("vegas_fl.server")

SAMPLES = 200
"""Samples of each class's generators that one generator of all classes is trained on."""

TRIED = 24
"""Samples that a generator has to give before it is kept, and by which it is judged."""


def train_generators(federation: Federation, record: Record, spaces: Spaces) -> None:
    """Each node trains a generator per class; what the owners of a class share is saved as one checkpoint."""
    replies = _ask(federation, record, spaces)
    trained = {label for reply in replies.values() for label in reply.values.samples}
    kept = _make_room(federation, record, trained)
    files = [*kept, *_save(federation, record, spaces, replies)]
    record.done("generators", {path: tensorfiles.load_header(path)["sha256"] for path in files})


def _ask(federation: Federation, record: Record, spaces: Spaces) -> dict[str, Reply[TrainedGenerators]]:
    """The nodes' generators that can be used."""
    config = federation.config
    like = build_sampler(spaces.audio_tokens, spaces.audio_width, config.generator).state_dict()

    points: dict[Owned, torch.Tensor] = {}

    def unusable(owned: Owned, state: State) -> str | None:
        """Why nothing can be sampled: weights and variances of its prior may be no density's."""
        sampler = build_sampler(spaces.audio_tokens, spaces.audio_width, config.generator)
        sampler.load_state_dict(state)
        try:
            samples = sampler.eval().sample(TRIED, generator=torch.Generator().manual_seed(0))
        except RuntimeError as error:
            return f"it cannot be sampled ({error})"
        points[owned] = samples.mean(1)
        return None if bool(torch.isfinite(samples).all()) else "its samples are not finite"

    def check(node: str, reply: Reply[TrainedGenerators]) -> str | None:
        values = reply.values
        if problem := check_samples(values, federation.described.get(node), config.nodes[node]):
            return problem
        if set(reply.states) != {f"generator.{label}" for label in values.samples}:
            return f"sent {', '.join(sorted(reply.states)) or 'nothing'} for its classes {', '.join(values.samples)}"
        if missing := sorted(set(values.samples) - set(values.metrics)):
            return f"returned no training metrics for {', '.join(missing)}"
        for name, state in reply.states.items():
            owned = node, name.removeprefix("generator.")
            reason = misfit(state, like) or check_norm(state, like, config.federation.max_norm)
            if reason := reason or unusable(owned, state):
                return f"returned an unusable {name}: {reason}"
        return None

    federation.muster()
    content = TrainGenerators(spaces=spaces, training=record.progress.id).content(config)
    replies = federation.ask(TrainGenerators, dict.fromkeys(federation.nodes.values(), content), "generators", check)
    prefer = preference(config.encoder, spaces.audio, {label: words(label) for label in config.classes})
    clips: dict[Owned, int] = {}
    for label in config.classes:
        claims = {node: r.values.samples[label] for node, r in replies.items() if label in r.values.samples}
        counted = capped(claims, config.federation.max_weight)
        clips |= {(node, label): count for node, count in counted.items()}
    sent = {owned: x for owned, x in points.items() if owned[0] in replies}
    rejected, told = judge_generators(sent, prefer, clips)
    reasons: dict[str, str] = {}
    for (node, label), why in rejected.items():
        reasons[node] = f"returned an unusable generator.{label}: {why}"
        replies[node] = _without(replies[node], label)
    kept = {node: reply for node, reply in replies.items() if reply.states}
    told += [f"node {node} {why}; its others are used" for node, why in reasons.items() if node in kept]
    federation.drop({node: why for node, why in reasons.items() if node not in kept}, "generators", kept)
    for text in told:
        log.warning("%s", text)
        record.add(stage="warning", text=text)
    return kept


def _without(reply: Reply[TrainedGenerators], label: str) -> Reply[TrainedGenerators]:
    """A reply without the generator of a class."""
    samples = {of: count for of, count in reply.values.samples.items() if of != label}
    states = {name: state for name, state in reply.states.items() if name != f"generator.{label}"}
    return Reply(reply.values.model_copy(update={"samples": samples}), states)


def _make_room(federation: Federation, record: Record, trained: set[str]) -> list[Path]:
    """Move an earlier training's generators away, but for classes that nobody trained now; those are returned."""
    config = federation.config
    folder = Path(config.generator.checkpoint_dir)
    found = find_generators(folder)
    kept = sorted(label for label in config.classes if label not in trained and label in found)
    if kept:
        log.warning("no owner of %s replied: keeping the generators of an earlier training", ", ".join(kept))
    paths = [found[label] for label in kept]
    moved = [] if record.progress.begun("generators") else set_aside(folder, folder.glob(GENERATOR_FILES), keep=paths)
    record.progress.begin("generators")
    if moved:
        log.info("moved the generators of an earlier training to %s: %s", folder / "previous", ", ".join(moved))
    return paths


def _save(
    federation: Federation, record: Record, spaces: Spaces, replies: dict[str, Reply[TrainedGenerators]]
) -> list[Path]:
    """Write and record the generators of each class."""
    config = federation.config
    folder, header = Path(config.generator.checkpoint_dir), sampler_header(spaces, config.generator)
    states: dict[str, dict[str, State]] = {}
    samples: dict[str, dict[str, int]] = {}
    for node, reply in replies.items():
        for label, clips in reply.values.samples.items():
            states.setdefault(label, {})[node] = reply.states[f"generator.{label}"]
            samples.setdefault(label, {})[node] = clips
    if getattr(config.generator, "granularity", None) == "all":
        states = _of_all(
            config,
            {
                label: class_generator_from({**header, "samples": samples[label]}, states[label], label)
                for label in states
            },
        )
    files = []
    for label in filter(states.__contains__, config.classes):
        weights = weighed(samples[label], config, f"training clips of {label}")
        path = save_class_generator(folder, 1, label, states[label], weights, header)
        files.append(path)
        log.info("generator of %s: %s", label, path)
        for node, clips in samples[label].items():
            training = replies[node].values.metrics[label]
            record.add(stage="generators", node=node, label=label, clips=clips, training=training)
    return files


def _of_all(config: Config, trained: Mapping[str, ClassGenerator]) -> dict[str, dict[str, State]]:
    """By class and owner, the samplers of one network for all classes, trained on samples of the nodes' generators."""
    draws = {label: seeds.generator(config.seed, "generators", label) for label in trained}
    clips = [generator.sample(SAMPLES, generator=draws[label]) for label, generator in trained.items()]
    with seeds.reproducible(config.seed, "generators", threads=config.threads):
        models = train(clips, config.generator, resolve_device(config.device))
    made = {label: model.sampler.state_dict() for label, (model, _) in zip(trained, models, strict=True)}
    return {label: dict.fromkeys(generator.samples, made[label]) for label, generator in trained.items()}
