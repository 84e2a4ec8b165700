"""Mode "evaluate": adapters scored on clips no node trained on, by the text targets."""

from __future__ import annotations

import torch

from clients.node import Node
from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Adapter
from vegas_fl.algorithm.training import adapt
from vegas_fl.config import BRANCHES
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
    totals: dict[str, Branches] = {}
    with seeds.reproducible(config.seed, "evaluate", threads=config.threads):
        adapter = Adapter(request.spaces.shape, config.adapter)
        for name, state in candidates.items() if len(audio) else ():
            load_into(adapter, state, f"the {name} the server sent")
            kind = name.removeprefix(CANDIDATE).partition(" ")[0]
            scores = _scores(node, adapter, audio, labels)
            totals[kind] = totals[kind] + scores if kind in totals else scores
    return Evaluation(clips=len(audio), figures=totals), {}


def _scores(node: Node, adapter: Adapter, audio: torch.Tensor, labels: torch.Tensor) -> Branches:
    """What one adapter scores on clips ``[N, S, D]`` of classes ``[N]``."""
    outputs = adapt(adapter, audio)
    near, predicted = metrics.closeness(outputs, node.targets, labels), metrics.classify(outputs, node.targets)
    return Branches(
        **{
            branch: Sums(
                confusion=metrics.confusion(labels, predicted[branch], len(node.config.classes)).tolist(),
                cosine=near[branch]["cosine"].double().sum().item(),
                mse=near[branch]["mse"].double().sum().item(),
            )
            for branch in BRANCHES
        }
    )
