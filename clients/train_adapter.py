"""Mode "train adapter": local training, from the adapter the server sends."""

from __future__ import annotations

from typing import Any

from clients.node import Node
from vegas_fl import seeds
from vegas_fl.adapters import Adapter, Conditioning
from vegas_fl.tensorfiles import State, load_into
from vegas_fl.training import train_adapter as train


def train_adapter(node: Node) -> tuple[dict[str, Any], dict[str, State]]:
    """Train on the node's training clips; answer with the adapter."""
    config = node.config
    adapter = Adapter(node.spaces.shape, config.adapter)
    load_into(adapter, node.states["adapter"], "the adapter the server sent")
    adapter.to(node.device)
    audio, labels = (tensor.to(node.device) for tensor in node.embeddings(node.clips.train))
    targets = Conditioning(*(branch.to(node.device) for branch in node.targets))
    with seeds.reproducible(config.seed, "adapter", node.id, node.values["round"], threads=config.threads):
        history = train(adapter, audio, labels, targets, config.adapter, config.adapter.local_epochs)
    counts = {label: len(clips) for label, clips in node.clips.train.items()}
    return {"samples": counts, "clips": len(audio), "metrics": history}, {"adapter": adapter.cpu().state_dict()}
