"""Prompts are words, from one table."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

import vegas_tiny
from vegas_fl.data.classes import ESC50, VEGAS, WORDS, prompt, words
from vegas_tiny.recipe.table import NAMES

LEARNT = (
    *("a crying baby", "a chainsaw", "a dog", "a drum", "fireworks", "a helicopter", "a printer", "a train"),
    *("a snoring person", "flowing water", "a rooster", "rain", "sea waves", "a crackling fire"),
    *("a sneezing person", "a ticking clock"),
)
"""What the tiny pack was trained with, in the order of its classes."""


def test_the_words_the_tiny_pack_learnt_are_as_they_were() -> None:
    assert tuple(words(name) for name in NAMES) == LEARNT
    assert words("crying_baby") == words("baby_cry")


@pytest.mark.parametrize(("table", "size"), [(VEGAS, 10), (ESC50, 50)])
def test_every_class_has_words_of_its_own(table: dict[str, str], size: int) -> None:
    assert len(table) == len(set(table.values())) == size
    assert not [said for said in table.values() if "_" in said]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("crying_baby", "a photo of a crying baby"),
        ("sea_waves", "a photo of sea waves"),
        ("hand_saw", "a photo of a hand saw"),
        ("church_bells", "a photo of church bells"),
        ("playing_the_lute", "a photo of playing the lute"),
        ("dog barking", "a photo of dog barking"),
    ],
)
def test_prompts(name: str, said: str) -> None:
    assert prompt(name) == said


def test_prompts_fit_into_the_tiny_packs_t5() -> None:
    tokenizer = AutoTokenizer.from_pretrained(vegas_tiny.path("flux") / "tokenizer_2")
    assert max(len(tokenizer(prompt(name)).input_ids) for name in WORDS) <= 16
