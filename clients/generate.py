"""Mode "generate": the node's pictures, from the checkpoints the server loaded. Trains nothing; hears only where
``images.source`` is recordings. A long job is answered in parts, so that the server can tell how far it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clients.node import Node
from vegas_fl.audio import encoders
from vegas_fl.audio.clips import Clip
from vegas_fl.core.errors import VegasError
from vegas_fl.data.splits import split_evenly
from vegas_fl.rendering.embeddings_file import write_embeddings
from vegas_fl.rendering.folder import plan, plan_clips
from vegas_fl.rendering.jobs import AdapterFeed, Job, job_path, recipes, recorded, sampled
from vegas_fl.rendering.judge import judge_job
from vegas_fl.rendering.recordings import unseen
from vegas_fl.rendering.render import Drawn, render
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.checkpoints import adapter_from, sampler_from
from vegas_fl.storage.tensorfiles import State


def generate(node: Node) -> tuple[dict[str, Any], dict[str, State]]:
    """Render what is missing, for a while; answer with the counts."""
    config, values = node.config, node.values
    kept = job_path(config, node.id, values["subfolder"]) / ".request.safetensors"
    if values["again"]:
        node = dataclasses.replace(node, states=_recalled(kept))
    job = job_of(node)
    overwrite = config.images.overwrite and not values["again"]
    if config.images.output == "embeddings":
        written = write_embeddings(job, config, overwrite=overwrite)
        return _answer(job, written) | {"judged": None, "notes": _notes(job)}, {}
    drawn = render(
        job,
        config,
        node.device,
        overwrite=overwrite,
        seconds=config.images.report_seconds,
        patient=values["again"],
        show=True,
    )
    answer = _answer(job, drawn)
    if drawn.missing:
        if not values["again"]:
            _keep(node.states, kept)
        return answer | {"judged": None, "notes": []}, {}
    kept.unlink(missing_ok=True)
    judged, features, notes = judge_job(job, config, node.device)
    states = {} if features is None else {"pictures": {"features": features}}
    return answer | {"judged": judged, "notes": notes + _notes(job)}, states


def job_of(node: Node) -> Job:
    """What the node is to draw."""
    config, values = node.config, node.values
    classes = node.entry.selected_classes
    targets = node.targets.by_class(config.classes) if "targets" in node.states else {}
    if config.images.source == "recordings":
        clips = own_clips(node)
        embeddings, _ = node.embeddings(clips)
        contents = {label: [clip.content() for clip in clips[label]] for label in clips}
        everything = [content for label in contents for content in contents[label]]
        audio = recorded(dict(zip(everything, embeddings, strict=True)))
        pictures = plan_clips(config.seed, node.id, contents)
        source: dict[str, Any] = {"source": "recordings", "encoder": encoders.fingerprint(config.encoder)}
    else:
        audio = sampled(
            {
                label: sampler_from(
                    values["generators"][label], node.states[f"generator.{label}"], f"{label}'s generator"
                )
                for label in classes
            }
        )
        pictures = plan(config.seed, node.id, classes, node.entry.pictures)
        source = {"generator": {label: values["generators"][label]["sha256"] for label in classes}}
    adapter = adapter_from(values["adapter"], node.states["adapter"], "the adapter the server sent")
    feed = AdapterFeed(audio, adapter, targets, config.conditioning, config.renderer.batch_size)
    made_from = recipes(config, node.id, classes, values["adapter_sha256"], **source)
    return Job(node.id, job_path(config, node.id, values["subfolder"]), pictures, feed, made_from, values["files"])


def own_clips(node: Node) -> dict[str, list[Clip]]:
    """The node's validation and test clips by class, each content once, at most its share of samples_per_node.

    Raises
    ------
    VegasError
        There are none.
    """
    caps = split_evenly(node.entry.pictures, node.entry.selected_classes)
    chosen = {label: list(unseen(node.clips, label).values())[: caps[label]] for label in node.entry.selected_classes}
    if not any(chosen.values()):
        raise VegasError(
            f"node {node.id} has no validation or test clip to draw from; give it some (data.val_ratio, "
            "data.test_ratio or folds), or set images.source=generator"
        )
    return chosen


def _keep(states: Mapping[str, State], path: Path) -> None:
    """Keep the weights of a request until all is drawn: they travel once, however often the node is asked."""
    flat = {f"{name}|{key}": tensor for name, state in states.items() for key, tensor in state.items()}
    tensorfiles.save(path, flat, {"kind": "request"})


def _recalled(path: Path) -> dict[str, State]:
    states: dict[str, State] = {}
    for name, tensor in tensorfiles.load(path, kind="request").tensors.items():
        owner, _, key = name.partition("|")
        states.setdefault(owner, {})[key] = tensor
    return states


def _answer(job: Job, drawn: Drawn) -> dict[str, Any]:
    return {
        "pictures": len(job.pictures),
        "rendered": drawn.new,
        "missing": drawn.missing,
        "seconds": drawn.seconds,
        "folder": str(job.path),
    }


def _notes(job: Job) -> list[str]:
    counts: dict[str, int] = {}
    for picture in job.pictures:
        counts[picture.label] = counts.get(picture.label, 0) + 1
    if len(counts) < 2:
        return []
    shares = ", ".join(f"{n} of {label}" for label, n in counts.items())
    return [f"{job.name}: its {len(job.pictures)} pictures are {shares}"]
