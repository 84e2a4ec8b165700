"""Sums over clips: honest ones, and ones that no clips have."""

import re

import pytest
import torch

from tests.support.adapters import clips
from vegas_fl.algorithm.analytic import clip_sums
from vegas_fl.federation.checks import check_sums

NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda sums: sums, None),
        (lambda sums: {}, "expected the shapes"),
        (lambda sums: sums | {"gram": sums["gram"][1:]}, "expected the shapes"),
        (lambda sums: sums | {"gram": sums["gram"] * NAN}, "finite"),
        (lambda sums: {name: tensor.float() for name, tensor in sums.items()}, "float64"),
        (lambda sums: {name: 10 * tensor for name, tensor in sums.items()}, "not those of the clips"),
        (lambda sums: sums | {"gram": sums["gram"] + 100 * torch.eye(49).double()}, "not those|Gram matrix"),
        (lambda sums: sums | {"gram": sums["gram"] + torch.eye(49).double().roll(7, 1)}, "not those|Gram matrix"),
    ],
)
def test_sums_are_those_of_the_clips_that_a_node_names(change, problem):
    sums = clip_sums(*clips(0, 2), 3)._asdict()
    found = check_sums(change(sums), [24, 0, 24], 24, 3)
    assert found is None if problem is None else re.search(problem, found or "")
