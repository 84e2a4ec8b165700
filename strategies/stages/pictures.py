"""The last stage: pictures, rendered by the nodes, by the server, or by both."""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from flwr.app import RecordDict

from strategies.stages.picture_progress import PictureProgress
from strategies.stages.server_pictures import render_here
from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError, some
from vegas_fl.federation.checks import check_pictures
from vegas_fl.federation.messages import Generate, Pictures
from vegas_fl.federation.nodes import Federation
from vegas_fl.federation.wire import Reply
from vegas_fl.rendering.jobs import SERVER, earlier_rounds, job_path, round_folder, saved_rounds, with_round
from vegas_fl.rendering.judge import distances, reference_features
from vegas_fl.runs.record import Record
from vegas_fl.storage.adapters import load_newest
from vegas_fl.storage.generators import ClassGenerator, load_class_generator
from vegas_fl.storage.names import adapter_rounds, find_generators
from vegas_fl.storage.provenance import MadeBy, in_words, made_by
from vegas_fl.storage.tensorfiles import State

log = logging.getLogger("vegas_fl.server")


def render(federation: Federation, record: Record, targets: Conditioning | None) -> None:
    """Pictures of the adapters chosen, and of the rounds before them that ``images.every`` selects."""
    real = _reference(federation.config)
    for config, round_ in _rounds(federation.config):
        subfolder = "" if round_ is None else round_folder(round_)
        about = {} if round_ is None else {"round": round_}
        replies: dict[str, Reply[Pictures]] = {}
        adapters: dict[str, MadeBy] = {}
        if config.images.where != "server":
            replies, adapters = _by_nodes(federation, config, subfolder, targets, real)
        if config.images.where != "nodes":
            replies[SERVER], adapters[SERVER] = render_here(config, subfolder, targets)
        for node, reply in replies.items():
            expected = job_path(config, node, subfolder)
            _report(node, reply.values, expected, record, {**about, "adapter": adapters[node]})
        judged = [reply for reply in replies.values() if reply.values.judged is not None]
        if judged:
            _record_judgement(config, record, about, judged, real)


def _reference(config: Config) -> torch.Tensor | None:
    """Features ``[M, F]`` of the real pictures that the rendered ones are compared with, if any."""
    if not config.evaluation.reference or config.images.output != "pictures":
        return None
    try:
        return reference_features(config)
    except VegasError as error:  # only a figure is missing without them
        log.warning("the pictures will not be compared with real ones: %s", error)
        return None


def _rounds(config: Config) -> Iterator[tuple[Config, int | None]]:
    """The configuration of each round to be rendered, and its number; None for the chosen round, which comes last."""
    for round_ in earlier_rounds(config, saved_rounds(config)):
        yield with_round(config, round_), round_
    yield config, None


def _by_nodes(
    federation: Federation,
    config: Config,
    subfolder: str,
    targets: Conditioning | None,
    real: torch.Tensor | None,
) -> tuple[dict[str, Reply[Pictures]], dict[str, MadeBy]]:
    """Each node renders its pictures with its own generators and the chosen adapters; which adapters, by node."""
    contents: dict[str, RecordDict] = {}
    requests: dict[str, Generate] = {}
    found = find_generators(Path(config.generator.checkpoint_dir))
    load = functools.cache(load_class_generator)  # a class has many owners
    for node in federation.nodes.values():
        if lacking := _lacking_generators(config, node, found):
            log.warning("node %s renders nothing: no generator found for %s", node, ", ".join(lacking))
            continue
        requests[node], states = _request(config, node, subfolder, targets, found, load)
        contents[node] = requests[node].content(config, states)
    adapters = {node: made_by(request.adapter) for node, request in requests.items()}
    log.info("drawing with %s", some(list(dict.fromkeys(map(in_words, adapters.values()))), 3) or "no adapter")
    progress = PictureProgress(contents)

    def check(node: str, reply: Reply[Pictures]) -> str | None:
        most, width = config.nodes[node].pictures, None if real is None else real.shape[1]
        return progress.stalled(node, reply.values) or check_pictures(
            reply.values, reply.states, most, len(config.judge_classes), width
        )

    def follow(node: str, reply: Reply[Pictures]) -> RecordDict | None:
        progress.answer(node, reply.values)
        if not reply.values.missing:
            return None
        return requests[node].model_copy(update={"again": True}).content(config)  # it has kept the weights

    replies = federation.ask(Generate, contents, "pictures", check, follow=follow, idle=progress.idle)
    return {
        node: Reply(reply.values.model_copy(update={"rendered": progress.rendered[node]}), reply.states)
        for node, reply in replies.items()
    }, adapters


def _lacking_generators(config: Config, node: str, found: Mapping[str, Path]) -> list[str]:
    """Classes of a node that would be rendered from generators and have none: their owners were lost."""
    needed = config.nodes[node].selected_classes if config.images.source == "generator" else ()
    return [label for label in needed if label not in found]


def _request(
    config: Config,
    node: str,
    subfolder: str,
    targets: Conditioning | None,
    paths: Mapping[str, Path],
    load: Callable[[Path, str], ClassGenerator],
) -> tuple[Generate, dict[str, State]]:
    """What a node is asked for: checkpoints, and whose they are."""
    files, adapter = load_newest(adapter_rounds(config, node))
    states: dict[str, State] = {"adapter": adapter.state}
    headers, generators = {}, {}
    if config.images.source == "generator":
        for label in config.nodes[node].selected_classes:
            shared = load(paths[label], adapter.header["spaces"]["audio"])
            states[f"generator.{label}"] = shared.of(node).state_dict()
            headers[label], generators[label] = shared.header, str(paths[label])
    if targets is not None and "text" in config.conditioning.model_dump().values():
        states["targets"] = targets._asdict()
    request = Generate(
        subfolder=subfolder,
        adapter=adapter.header,
        generators=headers,
        adapter_sha256=adapter.hashes,
        files={"adapter": {branch: str(path) for branch, path in files.items()}, "generators": generators},
    )
    return request, states


def _report(node: str, values: Pictures, expected: Path, record: Record, about: dict[str, Any]) -> None:
    """Log and record where a node's pictures are; ``expected``: where, if this is its machine."""
    for note in values.notes:
        log.info("%s", note)
    new = f", {values.rendered} of them new" if values.rendered < values.pictures else ""
    name = node if node == SERVER else f"node {node}"
    log.info("%s: %d pictures in %s%s", name, values.pictures, values.folder, new)
    counts = {"pictures": values.pictures, "rendered": values.rendered, "folder": values.folder}
    # In a deployment, pictures stay where they were drawn; what a node calls its folder opens none of the server's.
    counts["here"] = Path(values.folder) == expected and expected.is_dir()
    record.add(stage="images", **about, node=node, **counts)


def _record_judgement(
    config: Config,
    record: Record,
    about: dict[str, Any],
    judged: list[Reply[Pictures]],
    real: torch.Tensor | None,
) -> None:
    """Add up what the judges counted; compare with the real pictures if there are any."""
    classes = config.judge_classes
    found = [reply.values.judged for reply in judged if reply.values.judged is not None]
    counts = torch.stack([torch.tensor(one.confusion) for one in found]).sum(0)
    figures = metrics.summary(counts, classes)
    figures["clip_score"] = sum(one.clip_score for one in found) / int(counts.sum())
    if frames := sum(one.frames for one in found):
        figures |= {"image_similarity": sum(one.image_similarity for one in found) / frames, "frames": frames}
    if real is not None:
        try:
            figures |= distances([reply.states["pictures"]["features"] for reply in judged], real)
            figures["features"] = "Inception" if config.evaluation.inception else "judge"
        except VegasError as error:  # of one picture, which is drawn and judged all the same
            log.warning("the pictures are not compared with real ones: %s", error)
    record.add(stage="judge", **about, classes=classes, **figures, confusion=counts.tolist())
    if about and len(classes) > 1:  # the last round's are among the run's results
        log.info("pictures of round %d judged right: %.3f", about["round"], figures["accuracy"])
