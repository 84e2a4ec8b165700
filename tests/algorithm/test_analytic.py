"""The closed-form adapter: sums of nodes give what all clips in one place give, however they are divided."""

from __future__ import annotations

import pytest
import torch

from tests.support.adapters import SHAPE, TARGETS, clips, config
from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Adapter
from vegas_fl.algorithm.analytic import clip_sums, solve, token_statistics
from vegas_fl.core.seeds import generator


def ridge(x: torch.Tensor, labels: torch.Tensor, weight: float) -> torch.Tensor:
    """The textbook solution, on all clips in one place: least squares with rows for the penalty."""
    features = torch.cat([token_statistics(x), torch.ones(len(x), 1)], 1).double()
    rows = torch.cat([features, (weight * len(x)) ** 0.5 * torch.eye(features.shape[1]).double()])
    wanted = torch.nn.functional.one_hot(labels, 3).double()
    return torch.linalg.lstsq(rows, torch.cat([wanted, torch.zeros(features.shape[1], 3).double()])).solution


@pytest.mark.parametrize("nodes", ["one class each", "shares of one to forty clips", "a clip each"])
def test_sums_of_nodes_give_the_centralised_solution(nodes):
    x, labels = clips(0, 1, 2)
    order = torch.randperm(len(x), generator=generator("order"))
    shares = {
        "one class each": [(labels == label).nonzero()[:, 0] for label in range(3)],
        "shares of one to forty clips": order.split([1, 3, 28, 40]),
        "a clip each": order.split(1),
    }[nodes]
    first, *others = [clip_sums(x[share], labels[share], 3) for share in shares]
    for other in others:
        first += other
    assert (solve(first, 0.3) - ridge(x, labels, 0.3)).abs().max() < 1e-6


def test_the_adapter_finds_the_right_targets():
    x, labels = clips(0, 1, 2)
    adapter = Adapter(SHAPE, config(architecture="linear"), TARGETS)
    adapter.set_readout(solve(clip_sums(x, labels, 3)), TARGETS)
    outputs = adapter(x)
    assert outputs.clip.shape == (len(x), 6) and outputs.t5.shape == (len(x), 4, 8)
    assert all((classes == labels).all() for classes in metrics.classify(outputs, TARGETS).values())
