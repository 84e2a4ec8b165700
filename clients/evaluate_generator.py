"""Mode "evaluate generator": samples of generators compared with the node's own recordings. Only figures leave the
node."""

import torch

from clients.node import Node
from vegas_fl.algorithm import fidelity
from vegas_fl.core import devices, seeds
from vegas_fl.federation.messages import EvaluateGenerators, GeneratorQuality
from vegas_fl.storage.generators import sampler_from
from vegas_fl.storage.tensorfiles import State

MOST_CLIPS = 500
"""Most training clips that are compared with; memory and time grow with their square."""


def evaluate_generator(node: Node, request: EvaluateGenerators) -> tuple[GeneratorQuality, dict[str, State]]:
    """Figures for every class with training clips, held-out clips and a generator."""
    config, figures, held_out_counts, samples = node.config, {}, {}, {}
    centres = node.states["class means"]
    names = sorted(centres)
    means = fidelity.clip_vectors(torch.stack([centres[label] for label in names])[:, None])
    held_out_clips = getattr(node.clips, config.evaluation.split)
    for label, clips in node.clips.train.items():
        if f"generator.{label}" not in node.states or not clips or not held_out_clips.get(label):
            continue
        sampler = sampler_from(request.generators[label], node.states[f"generator.{label}"], f"{label}'s generator")
        devices.moved(sampler, node.device)
        training, held_out = (
            fidelity.clip_vectors(node.embeddings({label: part})[0])
            for part in (clips[:MOST_CLIPS], held_out_clips[label])
        )
        seed = ("evaluate generator", node.id, label)
        with seeds.reproducible(config.seed, *seed, threads=config.threads):
            draws = fidelity.sample_sets(sampler, len(training), generator=seeds.generator(config.seed, *seed))
            figures[label] = fidelity.quality(draws, training, held_out, names.index(label), means)
        held_out_counts[label], samples[label] = len(held_out), sum(map(len, draws))
    clips_used = sum(held_out_counts.values())
    return GeneratorQuality(clips=clips_used, held_out=held_out_counts, samples=samples, figures=figures), {}
