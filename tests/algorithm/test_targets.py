"""Targets that vary with a clip's own prompt."""

from __future__ import annotations

import pytest
import torch

from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.algorithm.metrics import classify
from vegas_fl.algorithm.targets import class_directions, vary_within_classes


def prompts(seed: int, classes: int = 6, width: int = 24) -> tuple[Conditioning, torch.Tensor, Conditioning]:
    """Targets of classes, the labels of 30 clips, and prompts of the clips that differ far more than the classes do."""
    torch.manual_seed(seed)
    of_class = Conditioning(torch.randn(classes, width), torch.randn(classes, 4, width))
    labels = torch.randint(classes, (30,))
    own = Conditioning(*(branch[labels] + 20 * torch.randn(30, *branch.shape[1:]) for branch in of_class))
    return of_class, labels, own


def apart(branch: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of each row, its difference from the mean of its class."""
    return torch.stack([row - branch[labels == label].mean(0) for row, label in zip(branch, labels, strict=True)])


@pytest.mark.parametrize("seed", range(5))
def test_the_class_nearest_to_a_clips_target_is_its_own_whatever_the_adjectives(seed: int) -> None:
    classes, labels, own = prompts(seed)
    made = vary_within_classes(classes, labels, own)
    assert all((found == labels).all() for found in classify(made, classes).values())
    plain = Conditioning(*(of[labels] + apart(mine, labels) for of, mine in zip(classes, own, strict=True)))
    assert all((found != labels).any() for found in classify(plain, classes).values())


def test_targets_of_clips_differ_as_their_prompts_do_but_not_as_classes_do() -> None:
    classes, labels, own = prompts(0)
    for made, of, mine in zip(vary_within_classes(classes, labels, own), classes, own, strict=True):
        difference = (of[1] - of[0]).flatten()
        moved, meant = (apart(branch, labels).flatten(1) for branch in (made, mine))
        assert (moved @ difference).abs().max() < 1e-2 < (meant @ difference).abs().max()
        assert moved.square().sum() > 0.5 * meant.square().sum()
        for label in labels.unique():
            assert torch.allclose(made[labels == label].mean(0), of[label], atol=1e-4)


def test_a_clip_alone_in_its_class_has_the_class_target() -> None:
    classes, _, own = prompts(0)
    labels = torch.tensor([0, 1, 1])
    made = vary_within_classes(classes, labels, Conditioning(*(branch[:3] for branch in own)))
    assert torch.equal(made.clip[0], classes.clip[0]) and torch.equal(made.t5[0], classes.t5[0])


def test_with_one_class_all_that_differs_between_prompts_is_kept() -> None:
    classes, labels, own = prompts(0, classes=1)
    for made, mine in zip(vary_within_classes(classes, labels, own), own, strict=True):
        assert torch.allclose(apart(made, labels), apart(mine, labels), atol=1e-4)


def test_with_more_classes_than_dimensions_targets_are_the_classes() -> None:
    classes, labels, own = prompts(0, classes=20, width=6)
    made = vary_within_classes(classes, labels, own)
    assert torch.allclose(made.clip, classes.clip[labels], atol=1e-4)
    assert not torch.allclose(made.t5, classes.t5[labels], atol=1)  # 4 tokens of 6: 24 numbers


def test_classes_of_the_same_words_take_no_direction() -> None:
    targets = prompts(0, classes=3, width=8)[0].clip
    assert len(class_directions(torch.cat([targets, targets[:1], targets.mean(0, keepdim=True)]))) == 2
    assert class_directions(targets[[0, 0]]).shape == (0, 8)
