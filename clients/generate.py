"""Mode "generate": the node's pictures, from the checkpoints that the server sends. Trains nothing, and reads
recordings only with ``images.source=recordings``. A long job is answered in parts, so that the server can log its
progress."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clients.node import Node
from vegas_fl.audio import encoders
from vegas_fl.audio.clips import Clip
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError
from vegas_fl.data.splits import split_evenly
from vegas_fl.federation.messages import Generate, Judged, Pictures
from vegas_fl.rendering.embeddings_file import write_embeddings
from vegas_fl.rendering.folder import plan, plan_clips
from vegas_fl.rendering.jobs import AdapterFeed, Job, job_path, recipes, recorded, sampled
from vegas_fl.rendering.judge import features, judge_job
from vegas_fl.rendering.painter import painter
from vegas_fl.rendering.recordings import unseen
from vegas_fl.rendering.render import RenderResult, render
from vegas_fl.rendering.worker import Worker
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.adapters import adapter_from
from vegas_fl.storage.generators import sampler_from
from vegas_fl.storage.provenance import made_by
from vegas_fl.storage.tensorfiles import State


def generate(node: Node, request: Generate) -> tuple[Pictures, dict[str, State]]:
    """Render what is missing for up to ``images.report_seconds``; reply with the counts."""
    config = node.config
    kept = job_path(config, node.id, request.subfolder) / ".request.safetensors"
    if request.again:
        node = dataclasses.replace(node, states=_recalled(kept))
    job = job_of(node, request)
    overwrite = config.images.overwrite and not request.again
    if config.images.output == "embeddings":
        written = write_embeddings(job, config, overwrite=overwrite)
        return _answer(job, written).model_copy(update={"notes": _notes(job)}), {}
    worker = _worker(Path(config.paths.cache).expanduser())
    drawn = render(
        job,
        config,
        node.device,
        overwrite=overwrite,
        seconds=config.images.report_seconds,
        load=worker.painter if worker else painter,
        show=True,
    )
    answer = _answer(job, drawn)
    if drawn.missing:
        if not request.again:
            _keep(node.states, kept)
        return answer, {}
    kept.unlink(missing_ok=True)
    judged, seen, notes = judge_job(job, config, node.device, worker.features if worker else features)
    states = {} if seen is None else {"pictures": {"features": seen}}
    about = {"judged": None if judged is None else Judged(**judged), "notes": notes + _notes(job)}
    return answer.model_copy(update=about), states


def _worker(cache: Path) -> Worker | None:
    """What keeps the models between messages; None in a process that answers more than one, and keeps them itself."""
    return Worker(cache / "worker") if Path(sys.argv[0]).stem == "flwr-clientapp" else None


def job_of(node: Node, request: Generate) -> Job:
    """What the node is to render."""
    config, headers = node.config, request.generators
    classes = node.entry.selected_classes
    frames: dict[str, Path] = {}
    targets = node.targets.by_class(config.classes) if "targets" in node.states else {}
    if config.images.source == "recordings":
        clips = own_clips(node)
        embeddings, _ = node.embeddings(clips)
        contents = {label: [clip.content() for clip in clips[label]] for label in clips}
        everything = [content for label in contents for content in contents[label]]
        audio = recorded(dict(zip(everything, embeddings, strict=True)))
        flat = [clip for label in clips for clip in clips[label]]
        frames = {content: clip.frame for content, clip in zip(everything, flat, strict=True) if clip.frame}
        pictures = plan_clips(config.seed, node.id, contents)
        source: dict[str, Any] = {"source": "recordings", "encoder": encoders.fingerprint(config.encoder)}
    else:
        audio = sampled(
            {
                label: devices.moved(
                    sampler_from(headers[label], node.states[f"generator.{label}"], f"{label}'s generator"), node.device
                )
                for label in classes
            }
        )
        pictures = plan(config.seed, node.id, classes, node.entry.pictures)
        source = {"generator": {label: headers[label]["sha256"] for label in classes}}
    adapter = adapter_from(request.adapter, node.states["adapter"], "the adapter the server sent")
    feed = AdapterFeed(
        audio, devices.moved(adapter, node.device), targets, config.conditioning, config.renderer.batch_size
    )
    made_from = recipes(config, node.id, classes, request.adapter_sha256, **source)
    return Job(
        node.id,
        job_path(config, node.id, request.subfolder),
        pictures,
        feed,
        made_from,
        request.files,
        made_by(request.adapter),
        frames,
    )


def own_clips(node: Node) -> dict[str, list[Clip]]:
    """The node's validation and test clips by class, each content once, at most its share of samples_per_node.

    Raises
    ------
    VegasError
        The node has none.
    """
    caps = split_evenly(node.entry.pictures, node.entry.selected_classes)
    chosen = {label: list(unseen(node.clips, label).values())[: caps[label]] for label in node.entry.selected_classes}
    if not any(chosen.values()):
        raise VegasError(
            f"node {node.id}: no validation or test clips found, which images.source=recordings draws from; set "
            "data.val_ratio, data.test_ratio or folds, or set images.source=generator"
        )
    return chosen


def _keep(states: Mapping[str, State], path: Path) -> None:
    """Keep the tensors of a request until all pictures are rendered: they travel once, however often the node is
    asked."""
    flat = {f"{name}|{key}": tensor for name, state in states.items() for key, tensor in state.items()}
    tensorfiles.save(path, flat, {"kind": "request"})


def _recalled(path: Path) -> dict[str, State]:
    states: dict[str, State] = {}
    for name, tensor in tensorfiles.load(path, kind="request").tensors.items():
        owner, _, key = name.partition("|")
        states.setdefault(owner, {})[key] = tensor
    return states


def _answer(job: Job, drawn: RenderResult) -> Pictures:
    """How far a job is."""
    return Pictures(
        pictures=len(job.pictures),
        rendered=drawn.new,
        missing=drawn.missing,
        seconds=drawn.seconds,
        folder=str(job.path),
    )


def _notes(job: Job) -> list[str]:
    counts: dict[str, int] = {}
    for picture in job.pictures:
        counts[picture.label] = counts.get(picture.label, 0) + 1
    if len(counts) < 2:
        return []
    shares = ", ".join(f"{n} of {label}" for label, n in counts.items())
    return [f"{job.name}: its {len(job.pictures)} pictures are {shares}"]
