"""Mode "evaluate": adapters judged on clips no node trained on, by the text targets."""

from __future__ import annotations

from typing import Any

import torch

from clients.node import Node
from vegas_fl import metrics, seeds
from vegas_fl.adapters import Adapter
from vegas_fl.tensorfiles import State, load_into
from vegas_fl.training import adapt

CANDIDATE = "candidate."


def evaluate(node: Node) -> tuple[dict[str, Any], dict[str, State]]:
    """Counts and sums over the node's own unseen clips, by candidate and branch.

    ``candidate.local 0``, ``candidate.local 1``, … are added up as "local", so that the answer does not grow
    with the nodes. Sums, not means: the server adds them to those of the other nodes.
    """
    config = node.config
    clips = getattr(node.clips, config.evaluation.split)
    audio, labels = node.embeddings(clips)
    sums: dict[str, dict[str, dict[str, torch.Tensor]]] = {}
    for name, state in node.states.items():
        if not name.startswith(CANDIDATE) or not len(audio):
            continue
        adapter = Adapter(node.spaces.shape, config.adapter)
        load_into(adapter, state, f"the {name} the server sent")
        with seeds.reproducible(config.seed, "evaluate", threads=config.threads):
            outputs = adapt(adapter, audio)
            predicted, near = metrics.classify(outputs, node.targets), metrics.closeness(outputs, node.targets, labels)
        kind = sums.setdefault(name.removeprefix(CANDIDATE).partition(" ")[0], {})
        for branch in predicted:
            found = {figure: values.double().sum() for figure, values in near[branch].items()}
            found["confusion"] = metrics.confusion(labels, predicted[branch], len(config.classes))
            total = kind.setdefault(branch, {})
            for figure, value in found.items():
                total[figure] = total[figure] + value if figure in total else value
    figures = {
        kind: {branch: {f: value.tolist() for f, value in total.items()} for branch, total in branches.items()}
        for kind, branches in sums.items()
    }
    return {"clips": len(audio), "figures": figures}, {}
