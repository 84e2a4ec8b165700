"""Mode "evaluate": adapters scored on clips no node trained on, by the text targets."""

from __future__ import annotations

import torch

from clients.node import Node
from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Adapter
from vegas_fl.algorithm.training import adapt
from vegas_fl.core import seeds
from vegas_fl.federation.messages import Branches, Evaluate, Evaluation, Sums
from vegas_fl.storage.tensorfiles import State, load_into

CANDIDATE = "candidate."


def evaluate(node: Node, request: Evaluate) -> tuple[Evaluation, dict[str, State]]:
    """Counts and sums over the node's own unseen clips, by candidate and branch.

    ``candidate.local 0``, ``candidate.local 1``, … are added up as "local", so that the answer does not grow
    with the nodes. Sums, not means: the server adds them to those of the other nodes.
    """
    config = node.config
    audio, labels = node.embeddings(getattr(node.clips, config.evaluation.split))
    candidates = {name: state for name, state in node.states.items() if name.startswith(CANDIDATE)}
    totals: dict[str, dict[str, dict[str, torch.Tensor]]] = {}
    with seeds.reproducible(config.seed, "evaluate", threads=config.threads):
        adapter = Adapter(request.spaces.shape, config.adapter)
        for name, state in candidates.items() if len(audio) else ():
            load_into(adapter, state, f"the {name} the server sent")
            kind = totals.setdefault(name.removeprefix(CANDIDATE).partition(" ")[0], {})
            for branch, sums in _sums(node, adapter, audio, labels).items():
                total = kind.setdefault(branch, {})
                for figure, value in sums.items():
                    total[figure] = total.get(figure, torch.zeros_like(value)) + value
    figures = {
        kind: Branches(
            **{
                branch: Sums(**{figure: value.tolist() for figure, value in sums.items()})
                for branch, sums in branches.items()
            }
        )
        for kind, branches in totals.items()
    }
    return Evaluation(clips=len(audio), figures=figures), {}


def _sums(
    node: Node, adapter: Adapter, audio: torch.Tensor, labels: torch.Tensor
) -> dict[str, dict[str, torch.Tensor]]:
    """What one adapter scores, by branch: ``confusion`` [K, K], and the sums of ``cosine`` and ``mse`` over clips."""
    outputs = adapt(adapter, audio)
    near = metrics.closeness(outputs, node.targets, labels)
    return {
        branch: {
            "confusion": metrics.confusion(labels, predicted, len(node.config.classes)),
            **{figure: values.double().sum() for figure, values in near[branch].items()},
        }
        for branch, predicted in metrics.classify(outputs, node.targets).items()
    }
