"""Mode "train adapter": local training of the adapter that the server sends."""

import torch

from clients.clip_targets import clip_targets
from clients.node import Node
from clients.own_adapter import keep
from vegas_fl.algorithm.adapter import Adapter, Conditioning
from vegas_fl.algorithm.training import train_adapter as train
from vegas_fl.core import devices, seeds
from vegas_fl.core.progress import Progress
from vegas_fl.federation.messages import TrainAdapter, TrainedAdapter
from vegas_fl.storage.generators import class_generator_from
from vegas_fl.storage.tensorfiles import State, load_into


def train_adapter(node: Node, request: TrainAdapter) -> tuple[TrainedAdapter, dict[str, State]]:
    """Train on the node's training clips, and on samples of other classes if it replays; reply with the adapter."""
    config = node.config
    adapter = Adapter(request.spaces.shape, config.adapter)
    load_into(adapter, node.states["adapter"], "the adapter the server sent")
    devices.moved(adapter, node.device)
    audio, labels = node.embeddings(node.clips.train)
    others, other_labels = replay(node, request)
    x = torch.cat([audio, *others]) if others else audio
    y, targets = torch.cat([labels, *other_labels]), node.targets
    own = clip_targets(node, labels)
    if own is not None:  # samples of other classes have their class's
        own = Conditioning(*(torch.cat([mine, of[y[len(audio) :]]]) for mine, of in zip(own, targets, strict=True)))
    progress = Progress("adapters", f"node {node.id}", 1, "adapter")
    with progress, seeds.reproducible(config.seed, "adapter", node.id, request.round, threads=config.threads):
        history = train(adapter, x, y, targets, config.adapter, config.adapter.local_epochs, own)
        progress.add(1)
    counts = {label: len(clips) for label, clips in node.clips.train.items()}
    state = adapter.cpu().state_dict()
    keep(node, state)
    return TrainedAdapter(samples=counts, clips=len(audio), metrics=history), {"adapter": state}


def replay(node: Node, request: TrainAdapter) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Samples ``[M, S, D]`` of each class the node has no clips of, from the generators the server sent; and labels."""
    count = node.config.adapter.replay_samples
    samples, labels = [], []
    for label, header in request.generators.items():
        if label in node.clips.train:
            continue
        prefix = f"generator.{label}."
        states = {name.removeprefix(prefix): s for name, s in node.states.items() if name.startswith(prefix)}
        generator = class_generator_from(header, states, f"the generator of {label} the server sent").to(node.device)
        seed = seeds.generator(node.config.seed, "local replay", node.id, request.round, label)
        samples.append(generator.sample(count, generator=seed))
        labels.append(torch.full((count,), node.config.classes.index(label)))
    return samples, labels
