"""Mode "generate": the node's pictures, from the checkpoints the server loaded. Trains nothing, hears nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm import tqdm

from clients.node import Node
from vegas_fl.adapters import Conditioning
from vegas_fl.checkpoints import adapter_from, sampler_from
from vegas_fl.errors import VegasError
from vegas_fl.judge import judge
from vegas_fl.rendering import flux
from vegas_fl.rendering.folder import PictureFolder, plan
from vegas_fl.rendering.node import render_node
from vegas_fl.splits import split_evenly
from vegas_fl.tensorfiles import State


def generate(node: Node) -> tuple[dict[str, Any], dict[str, State]]:
    """Render what is missing; answer with the counts."""
    config, values = node.config, node.values
    classes = node.entry.selected_classes
    pictures = plan(config.seed, node.id, classes, node.entry.samples_per_node)
    samplers = {
        label: sampler_from(values["generators"][label], node.states[f"generator.{label}"], f"{label}'s generator")
        for label in classes
    }
    adapter = adapter_from(values["adapter"], node.states["adapter"], "the adapter the server sent")
    targets: dict[str, Conditioning] = {}
    if "targets" in node.states:
        targets = {
            label: Conditioning(*(branch[config.classes.index(label)] for branch in node.targets)) for label in classes
        }
    look = {
        "conditioning": config.conditioning.model_dump(),
        "renderer": config.renderer.model,
        "renderer_fingerprint": flux.picture_fingerprint(config.renderer),
        "steps": config.renderer.steps,
        "run_seed": config.seed,
    }
    recipes = {
        label: {**look, "generator": values["generators"][label]["sha256"], **values["adapter_sha256"]}
        for label in classes
    }
    path = Path(config.images_output_dir) / f"node_{node.id}"
    with tqdm(total=len(pictures), desc=f"node {node.id}", unit="picture", mininterval=1) as bar:
        rendered = render_node(
            config,
            node.id,
            pictures,
            PictureFolder(path, recipes),
            samplers,
            adapter,
            targets,
            node.device,
            bar.update,
        )
    notes: list[str] = []
    judged, features = None, {}
    if config.renderer.judge:
        try:
            made = [(path / picture.name, picture.label) for picture in pictures]
            found = judge(made, config.judge_classes, config.renderer.judge, node.device)
            judged = {"confusion": found.confusion.tolist(), "clip_score": found.clip_scores.double().sum().item()}
            if config.evaluation.reference:
                features = {"pictures": {"features": found.features}}
        except VegasError as error:  # the pictures are there; only their figure is missing
            notes.append(f"node {node.id}: its pictures were not judged: {error}")
    if len(classes) > 1:
        shares = ", ".join(f"{n} of {label}" for label, n in split_evenly(len(pictures), classes).items())
        notes.append(f"node {node.id}: its {len(pictures)} pictures are {shares}")
    counts = {"pictures": len(pictures), "rendered": rendered}
    return {**counts, "folder": str(path), "judged": judged, "notes": notes}, features
