"""Overrides as people type them are read as they are meant, or refused with what to type."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.support.tables import table
from vegas_fl.config import ConfigError, compose
from vegas_fl.config.overrides import accepted


def root(typed: str) -> str | None:
    return compose(["data=folder", f"data.root={typed}"]).data.root


@pytest.mark.parametrize(
    "folder",
    [
        *(
            "/home/Müller/sounds",
            "/x/Sounds (1)",
            "o'brien",
            "a=b",
            "[x]",
            "{a}",
            "/x/#1",
            "~/a b",
            "12",
            "1.10",
            "true",
        ),
        *('a"b', "x!", "a&b;c", "日本/音", "/x/[1]", "C:\\x", "a b (c) [d] {e}", "it's (o'clock)"),
    ],
)
def test_a_folder_may_be_called_anything(folder: str) -> None:
    assert root(folder) == folder


def test_what_is_quoted_empty_or_a_reference_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOUNDS", "/s")
    assert root('"a, b"') == "a, b" and root("null") is None and root("${oc.env:SOUNDS}/x") == "/s/x"
    assert accepted(["hydra.verbose=true", "data=toy", "~nodes.1", "+nodes.2={}"]) == [
        *("hydra.verbose=true", "data=toy", "~nodes.1", "+nodes.2={}")
    ]


@pytest.mark.parametrize(
    ("typed", "classes"),
    [
        ("[police car (siren)]", ["police car (siren)"]),
        ("[dog, police car (siren)]", ["dog", "police car (siren)"]),
        ("[café]", ["café"]),
        ("[हिन्दी,ไทย]", ["हिन्दी", "ไทย"]),
        ("[1,2]", ["1", "2"]),
        ("[no,01,true,null]", ["no", "01", "true", "null"]),
        ("[o'brien]", ["o'brien"]),
        ('["a, b",c]', ["a, b", "c"]),
        ("dog", ["dog"]),
        ("police car (siren)", ["police car (siren)"]),
        ("3", ["3"]),
    ],
)
def test_a_class_may_be_called_anything(typed: str, classes: list[str]) -> None:
    config = compose(["run=x", f"images.judge_classes={typed}", "stages=images", "data=esc10", "data.test_folds=5"])
    assert list(config.images.judge_classes) == classes
    assert config.stages == ("images",) and config.data.test_folds == (5,)


def test_lists_within_a_mapping_are_read_alike() -> None:
    config = compose(["+nodes.2={selected_classes: [police car (siren), dog], samples_per_node: 3}"])
    assert config.nodes["2"].selected_classes == ("police car (siren)", "dog")
    assert config.nodes["2"].samples_per_node == 3


@pytest.mark.parametrize("name", ["1.0", "1.10", "2024", "1e5", "true", "demo-seed=1", "inf", "0x1"])
def test_a_run_may_be_called_like_a_number(name: str) -> None:
    assert compose([f"run={name}"]).run == name


@pytest.mark.parametrize(("typed", "instead"), table(__file__, "ambiguous"))
def test_what_can_be_read_in_two_ways_is_refused_with_what_to_type(typed: str, instead: str) -> None:
    with pytest.raises(ConfigError) as error:
        accepted([typed])
    (sentence,) = error.value.mistakes
    assert sentence.startswith(typed) and "++" not in sentence
    assert shlex.quote(instead) in sentence
    assert accepted([instead])


@pytest.mark.parametrize(("typed", "told"), table(__file__, "overrides"))
def test_a_mistake_is_one_sentence_without_what_nobody_typed(typed: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose([typed])
    text = str(error.value)
    assert told in text and "++" not in text and len(text.splitlines()) <= 3 and len(text) < 600


def test_unreadable_overrides_are_listed_together() -> None:
    with pytest.raises(ConfigError) as error:
        compose(["seed=1,2", "data.root=a,b", "plain"])
    assert len(error.value.mistakes) == 3


def test_values_of_a_sweep_are_read_one_by_one() -> None:
    assert accepted(["run=1.0,b", "nodes.0.selected_classes=[café],dog", "seed=range(1,3)"], sweep=True) == [
        *('++run="1.0",b', '++nodes.0.selected_classes=["café"],[dog]', "++seed=range(1,3)")
    ]


def test_accepted_overrides_are_accepted_again(tmp_path: Path) -> None:
    once = accepted(
        ["run=1.0", f"data.root={tmp_path}/a (b)", "nodes.0.selected_classes=[café]", "~nodes.1", "data=toy"]
    )
    assert accepted(once) == once
