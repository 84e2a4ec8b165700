"""Mode "evaluate": adapters judged on clips no node trained on, by the nearest text target."""

from __future__ import annotations

from typing import Any

from clients.node import Node
from vegas_fl import metrics, seeds
from vegas_fl.adapters import Adapter
from vegas_fl.tensorfiles import State, load_into
from vegas_fl.training import adapt

CANDIDATE = "candidate."


def evaluate(node: Node) -> tuple[dict[str, Any], dict[str, State]]:
    """Confusion matrices ``[K, K]`` of each candidate and branch, on the node's own unseen clips."""
    config = node.config
    clips = getattr(node.clips, config.evaluation.split)
    audio, labels = node.embeddings(clips)
    counts: dict[str, dict[str, list[list[int]]]] = {}
    for name, state in node.states.items():
        if not name.startswith(CANDIDATE) or not len(audio):
            continue
        adapter = Adapter(node.spaces.shape, config.adapter)
        load_into(adapter, state, f"the {name} the server sent")
        with seeds.reproducible(config.seed, "evaluate", threads=config.threads):
            predicted = metrics.classify(adapt(adapter, audio), node.targets)
        counts[name.removeprefix(CANDIDATE)] = {
            branch: metrics.confusion(labels, classes, len(config.classes)).tolist()
            for branch, classes in predicted.items()
        }
    return {"clips": len(audio), "confusion": counts}, {}
