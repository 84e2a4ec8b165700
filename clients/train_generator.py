"""Mode "train generator": one generator for each of the node's classes, or of those that it is to train."""

from pathlib import Path

from clients.node import Node
from vegas_fl.algorithm.generators import train_generators as train
from vegas_fl.core import seeds
from vegas_fl.core.progress import Progress
from vegas_fl.federation.messages import TrainedGenerators, TrainGenerators
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.generators import sampler_header
from vegas_fl.storage.names import GENERATOR_FILES, generator_path, set_aside
from vegas_fl.storage.tensorfiles import State


def train_generator(node: Node, request: TrainGenerators) -> tuple[TrainedGenerators, dict[str, State]]:
    """Train and save the whole generators on the node; reply with decoders and priors only."""
    config, folder = node.config, Path(node.config.generator.checkpoint_dir)
    header = sampler_header(request.spaces, config.generator)
    _make_room(folder / f"node_{node.id}", request.training)
    metrics, shared = {}, {}
    groups = [[label for label in group if label in node.clips.train] for group in config.trained_together(node.id)]
    counts = {label: len(node.clips.train[label]) for group in groups for label in group}
    with Progress("generators", f"node {node.id}", len(counts), "class") as progress:
        for labels in filter(None, groups):
            audio = [node.embeddings({label: node.clips.train[label]})[0] for label in labels]
            with seeds.reproducible(config.seed, "generator", node.id, "+".join(labels), threads=config.threads):
                generators = train(audio, config.generator, node.device)
            for label, (generator, history) in zip(labels, generators, strict=True):
                tensorfiles.save(
                    generator_path(folder, config.generator.name, 1, label, node.id),
                    generator.state_dict(),
                    {
                        **header,
                        "kind": "whole generator",
                        "class": label,
                        "round": 1,
                        "node": node.id,
                        "clips": counts[label],
                    },
                )
                progress.add(1)
                metrics[label] = history
                shared[f"generator.{label}"] = generator.sampler.state_dict()
    return TrainedGenerators(samples=counts, clips=sum(counts.values()), metrics=metrics), shared


def _make_room(folder: Path, training: str) -> None:
    """Move the files of another training away; nothing, if the same training is asked for again after an
    interruption."""
    mark = folder / ".training"
    if not mark.is_file() or mark.read_text("utf8") != training:
        set_aside(folder, folder.glob(GENERATOR_FILES))
        tensorfiles.write_atomically(mark, training.encode())
