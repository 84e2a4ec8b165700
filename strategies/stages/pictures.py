"""The stage after the adapters' strategy: pictures, drawn by the nodes, by the server, or by both."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from flwr.app import RecordDict

from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.config import Config
from vegas_fl.core.devices import resolve_device
from vegas_fl.core.errors import VegasError, some
from vegas_fl.federation.checks import odd_pictures
from vegas_fl.federation.exchange import Reply
from vegas_fl.federation.messages import GENERATE
from vegas_fl.federation.nodes import Federation
from vegas_fl.rendering.embeddings_file import write_embeddings
from vegas_fl.rendering.folder import plan
from vegas_fl.rendering.jobs import (
    SERVER,
    AdapterFeed,
    Job,
    job_path,
    recipes,
    round_folder,
    rounds,
    rounds_there,
    sampled_from_owners,
)
from vegas_fl.rendering.judge import fid, judge_job, reference_features
from vegas_fl.rendering.render import Drawn
from vegas_fl.rendering.render import render as draw
from vegas_fl.runs.record import Record
from vegas_fl.storage.checkpoints import (
    adapter_from,
    adapter_rounds,
    find_generators,
    load_class_generator,
    load_newest,
)
from vegas_fl.storage.tensorfiles import State

log = logging.getLogger("vegas_fl.server")


def render(federation: Federation, record: Record, targets: Conditioning | None) -> None:
    """Pictures of the adapters chosen, and of the rounds before them that ``images.every`` asks for."""
    for config, subfolder in _rounds(federation.config):
        answers: dict[str, Reply] = {}
        if config.images.where != "server":
            answers |= _by_nodes(federation, config, subfolder, targets)
        if config.images.where != "nodes":
            answers[SERVER] = _by_server(config, subfolder, targets)
        for node, reply in answers.items():
            _report(node, reply.values, record, subfolder)
        _record_judgement(config, record, subfolder, [reply for reply in answers.values() if reply.values["judged"]])


def _record_judgement(config: Config, record: Record, subfolder: str, judged: list[Reply]) -> None:
    """Add up what the judges counted; compare with real pictures if there are any."""
    if not judged:
        return
    classes = config.judge_classes
    counts = torch.stack([torch.tensor(reply.values["judged"]["confusion"]) for reply in judged]).sum(0)
    figures = metrics.summary(counts, classes)
    figures["clip_score"] = sum(reply.values["judged"]["clip_score"] for reply in judged) / int(counts.sum())
    if config.evaluation.reference:
        try:
            real = reference_features(config)
            figures["fid"] = fid([reply.states["pictures"]["features"] for reply in judged], real)
        except VegasError as error:  # the pictures are there; only their figure is missing
            log.warning("the pictures were not compared with real ones: %s", error)
    record.add(stage="judge", **_of_round(subfolder), classes=classes, **figures, confusion=counts.tolist())
    log.info(
        "pictures%s judged right: %.3f of %d (zero-shot among %d classes); CLIP score %.1f%s",
        f" of {subfolder}" if subfolder else "",
        figures["accuracy"],
        int(counts.sum()),
        len(classes),
        figures["clip_score"],
        f", FID {figures['fid']:.3f} on the judge's features" if "fid" in figures else "",
    )


def _rounds(config: Config) -> Iterator[tuple[Config, str]]:
    """The configuration of each round to be drawn, and the subfolder for it; the last one has none."""
    for round_ in rounds(config, rounds_there(config)):
        if round_ is not None:
            images = config.images.model_copy(update={"round": round_})
            yield config.model_copy(update={"images": images}), round_folder(round_)
    yield config, ""


def _of_round(subfolder: str) -> dict[str, Any]:
    return {"round": int(subfolder.removeprefix("round_"))} if subfolder else {}


def _by_nodes(federation: Federation, config: Config, subfolder: str, targets: Conditioning | None) -> dict[str, Reply]:
    """Each node renders its pictures with its own generators and the chosen adapters."""
    contents, values_of = {}, {}
    for node in federation.nodes.values():
        if lacking := _ungenerated(config, node):
            log.warning("node %s draws nothing: there is no generator of %s", node, ", ".join(lacking))
            continue
        states, values_of[node] = _request(config, node, subfolder, targets)
        contents[node] = federation.content(states, **values_of[node], again=False)
    drawing = Drawing(contents)

    def problem(node: str, reply: Reply) -> str | None:
        most = config.nodes[node].pictures
        return odd_pictures(reply.values, reply.states, most, len(config.judge_classes))

    def follow(node: str, reply: Reply) -> RecordDict | None:
        drawing.answer(node, reply.values)
        if not reply.values["missing"]:
            return None
        return federation.content(**values_of[node], again=True)  # it has kept the weights

    replies = federation.converse(GENERATE, contents, "pictures", problem, follow, drawing.idle)
    return {
        node: Reply({**reply.values, "rendered": drawing.rendered[node]}, reply.states)
        for node, reply in replies.items()
    }


def _ungenerated(config: Config, node: str) -> list[str]:
    """Classes of a node that would be drawn from generators and have none: their owners were lost."""
    found = find_generators(Path(config.generator.checkpoint_dir))
    needed = config.nodes[node].selected_classes if config.images.source == "generator" else ()
    return [label for label in needed if label not in found]


def _request(
    config: Config, node: str, subfolder: str, targets: Conditioning | None
) -> tuple[dict[str, State], dict[str, Any]]:
    """What a node is asked for: checkpoints, and whose they are."""
    files, adapter = load_newest(adapter_rounds(config, node))
    states: dict[str, State] = {"adapter": adapter.state}
    headers, generators = {}, {}
    if config.images.source == "generator":
        paths = find_generators(Path(config.generator.checkpoint_dir))
        for label in config.nodes[node].selected_classes:
            shared = load_class_generator(paths[label], adapter.header["spaces"]["audio"])
            states[f"generator.{label}"] = shared.of(node).state_dict()
            headers[label], generators[label] = shared.header, str(paths[label])
    if targets is not None and "text" in config.conditioning.model_dump().values():
        states["targets"] = targets._asdict()
    return states, {
        "config": config.model_dump(mode="json"),
        "subfolder": subfolder,
        "generators": headers,
        "adapter": adapter.header,
        "adapter_sha256": {f"{branch}_adapter": sha256 for branch, sha256 in adapter.sha256.items()},
        "files": {"adapter": {branch: str(path) for branch, path in files.items()}, "generators": generators},
    }


def _by_server(config: Config, subfolder: str, targets: Conditioning | None) -> Reply:
    """The server renders every class, from the shared generators with the global adapter."""
    job = server_job(config, subfolder, targets)
    device = resolve_device(config.device)
    rendered, seconds, overwrite = 0, 0.0, config.images.overwrite
    if config.images.output == "embeddings":
        drawn = write_embeddings(job, config, overwrite=overwrite)
        return Reply(_values(job, drawn, drawn.new), {})
    while True:
        drawn = draw(job, config, device, overwrite=overwrite, seconds=config.images.report_seconds)
        rendered, seconds, overwrite = rendered + drawn.new, seconds + drawn.seconds, False
        values = _values(job, drawn, rendered)
        if not drawn.missing:
            break
        log.info("%s", progress_line(SERVER, values, rendered / seconds))
    judged, features, notes = judge_job(job, config, device)
    states = {} if features is None else {"pictures": {"features": features}}
    return Reply({**values, "judged": judged, "notes": notes}, states)


def server_job(config: Config, subfolder: str, targets: Conditioning | None) -> Job:
    """What the server is to draw."""
    files, saved = load_newest(adapter_rounds(config))
    paths = find_generators(Path(config.generator.checkpoint_dir))
    generators = {
        label: load_class_generator(paths[label], saved.header["spaces"]["audio"]) for label in config.classes
    }
    feed = AdapterFeed(
        sampled_from_owners(generators),
        adapter_from(saved.header, saved.state, "the global adapter"),
        {} if targets is None else targets.by_class(config.classes),
        config.conditioning,
        config.renderer.batch_size,
    )
    hashes = {f"{branch}_adapter": sha256 for branch, sha256 in saved.sha256.items()}
    made_from = recipes(
        config, SERVER, config.classes, hashes, generator={label: g.header["sha256"] for label, g in generators.items()}
    )
    pictures = plan(config.seed, SERVER, config.classes, config.images.server_samples)
    drawn_from = {
        "adapter": {branch: str(path) for branch, path in files.items()},
        "generators": {label: str(paths[label]) for label in config.classes},
    }
    return Job(SERVER, job_path(config, SERVER, subfolder), pictures, feed, made_from, drawn_from)


def _values(job: Job, drawn: Drawn, rendered: int) -> dict[str, Any]:
    counts = {"pictures": len(job.pictures), "rendered": rendered, "missing": drawn.missing}
    return {**counts, "folder": str(job.path), "judged": None, "notes": []}


def _report(node: str, values: dict[str, Any], record: Record, subfolder: str) -> None:
    for note in values["notes"]:
        log.info("%s", note)
    new = f", {values['rendered']} of them new" if values["rendered"] < values["pictures"] else ""
    name = node if node == SERVER else f"node {node}"
    log.info("%s: %d pictures in %s%s", name, values["pictures"], values["folder"], new)
    counts = {key: values[key] for key in ("pictures", "rendered", "folder")}
    record.add(stage="images", **_of_round(subfolder), node=node, **counts)


QUIET = 8.0
"""Seconds without a line after which one tells what is known: with the longest pause between two looks for answers
(federation.LAST_PAUSE), lines are at most ten seconds apart."""


class Drawing:
    """What the nodes said of their pictures.

    A node that answers in parts says how far it is; between two answers, while models are loaded or a process is
    started, the last answer is told again, with its age.

    Parameters
    ----------
    nodes : iterable of str

    Attributes
    ----------
    rendered : dict
        Node → pictures it has drawn for this request.
    """

    def __init__(self, nodes: Iterable[str]) -> None:
        self.rendered = dict.fromkeys(nodes, 0)
        self._begin = self._line = time.monotonic()
        self._first: dict[str, tuple[float, int]] = {}
        self._open: dict[str, tuple[float, str]] = {node: (self._begin, "was asked") for node in self.rendered}

    def answer(self, node: str, values: dict[str, Any]) -> None:
        """Count an answer, and tell it if pictures are missing."""
        self.rendered[node] += values["rendered"]
        if not values["missing"]:
            self._open.pop(node, None)
            return
        now = time.monotonic()
        there = values["pictures"] - values["missing"]
        self._open[node] = (now, f"had {there} of {values['pictures']}")
        # Of the first answer drawing alone counts, not that FLUX was loaded; after it, all time does.
        first = self._first.setdefault(node, (now, self.rendered[node]))
        new, seconds = self.rendered[node] - first[1], now - first[0]
        rate = new / max(seconds, 1e-3) if new else values["rendered"] / max(values["seconds"], 1e-3)
        log.info("%s", progress_line(f"node {node}", values, rate))
        self._line = now

    def idle(self) -> None:
        """Tell the last answers again, if nothing was told for a while."""
        now = time.monotonic()
        if now - self._line < QUIET or not self._open:
            return
        last = [f"node {node} {what} ({now - when:.0f} s ago)" for node, (when, what) in self._open.items()]
        log.info("pictures: last heard: %s", some(last))
        self._line = now


def progress_line(name: str, values: dict[str, Any], rate: float) -> str:
    """How far a folder is, how many pictures a second it gets and how long it still takes."""
    left = values["missing"] / rate
    minutes = f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
    there = values["pictures"] - values["missing"]
    return f"{name}: {there} of {values['pictures']} pictures, {rate:.2g} a second, about {minutes} left"
