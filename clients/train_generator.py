"""Mode "train generator": one generator for each of the node's classes."""

from pathlib import Path

from clients.node import Node
from vegas_fl.algorithm.generators import train_generator as train
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
    with Progress("generators", f"node {node.id}", len(node.clips.train), "class") as progress:
        for label, clips in node.clips.train.items():
            audio, _ = node.embeddings({label: clips})
            with seeds.reproducible(config.seed, "generator", node.id, label, threads=config.threads):
                generator, history = train(audio, config.generator, node.device)
            tensorfiles.save(
                generator_path(folder, config.generator.name, 1, label, node.id),
                generator.state_dict(),
                {
                    **header,
                    "kind": "whole generator",
                    "class": label,
                    "round": 1,
                    "node": node.id,
                    "clips": len(clips),
                },
            )
            progress.add(1)
            metrics[label] = history
            shared[f"generator.{label}"] = generator.sampler.state_dict()
    counts = {label: len(clips) for label, clips in node.clips.train.items()}
    return TrainedGenerators(samples=counts, clips=sum(counts.values()), metrics=metrics), shared


def _make_room(folder: Path, training: str) -> None:
    """Move the files of another training away; nothing, if the same training is asked for again after an
    interruption."""
    mark = folder / ".training"
    if not mark.is_file() or mark.read_text("utf8") != training:
        set_aside(folder, folder.glob(GENERATOR_FILES))
        tensorfiles.write_atomically(mark, training.encode())
