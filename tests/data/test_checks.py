"""Every mistake of a configuration's data and shares is reported at once, before anything is read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.datasets import data
from tests.support.splits import entry, nodes
from vegas_fl.config import DataConfig
from vegas_fl.data.checks import check


def test_every_mistake_is_told_at_once(folds: DataConfig) -> None:
    config = folds.model_copy(update={"train_folds": (1, 2), "val_folds": (2,), "test_folds": (7,)})
    mistakes = check(config, nodes(entry(("dog", "rooster")), entry(("dgo",)), entry(("cat",))))
    told = "\n".join(mistakes)
    for expected in (
        "fold 2 is in both data.train_folds and data.val_folds",
        "fold 7 does not exist; the data set has the folds 1, 2, 3, 4",
        "nodes.1.selected_classes: no clip of class 'dgo' found (did you mean dog?)",
        "nodes.2.selected_classes: no clip of class 'cat' found",
    ):
        assert expected in told
    assert len(mistakes) == 4
    # Whatever else is wrong with the classes, folds are looked at.
    told = "\n".join(check(config, nodes(entry(("dgo",)))))
    assert "fold 7 does not exist" in told and "no clip of class 'dgo'" in told


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"train_ratio": 0.0, "val_ratio": 0.5, "test_ratio": 0.5}, "train_ratio is 0"),
        ({"train_ratio": 0.9}, "0.9 + 0.1 + 0.1 = 1.1"),
        ({"train_folds": (1,)}, "data.test_folds is empty"),
        ({"test_folds": (1,)}, "data.train_folds is empty"),
        ({"val_folds": (1,)}, "set all or none"),
        ({"train_folds": (1,), "test_folds": (2,)}, "has no folds"),
    ],
)
def test_impossible_settings(changes: dict[str, Any], seen: str) -> None:
    mistakes = check(data(name="toy", **changes), nodes(entry(("dog",))))
    assert any(seen in mistake for mistake in mistakes)


def test_more_owners_than_clips() -> None:
    entries = nodes(*[entry(("dog",))] * 3)
    mistakes = check(data(name="toy", clips_per_class=2), entries)
    assert len(mistakes) == 1
    assert "2 recordings to train on, too few for 3 nodes (0, 1, 2)" in mistakes[0]


def test_a_sound_configuration_has_no_mistakes(folds: DataConfig) -> None:
    assert check(folds, nodes(entry(("dog",)), entry(("dog", "rooster")))) == []
    assert check(data(name="toy"), nodes(entry(("dog",)))) == []


def test_missing_data_is_one_sentence_beside_the_others() -> None:
    mistakes = check(data(root="/nowhere/at/all", train_ratio=0.7), nodes(entry(("dog",))))
    assert len(mistakes) == 2
