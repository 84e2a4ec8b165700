"""Prompts are words, from one table."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

import vegas_tiny
from vegas_fl.data.classes import ESC50, VEGAS, WORDS, prompt, words

PACK = """
baby_cry: a crying baby
chainsaw: a chainsaw
clock_tick: a ticking clock
crackling_fire: a crackling fire
crying_baby: a crying baby
dog: a dog
drum: a drum
fireworks: fireworks
helicopter: a helicopter
printer: a printer
rail_transport: a train
rain: rain
rooster: a rooster
sea_waves: sea waves
sneezing: a sneezing person
snoring: a snoring person
water_flowing: flowing water
"""
"""The classes the tiny pack was trained with, and the words for each."""


def test_the_words_the_tiny_pack_was_trained_with_never_change() -> None:
    pairs = dict(line.split(": ") for line in PACK.split("\n") if line)
    assert len(pairs) == 17 and {name: words(name) for name in pairs} == pairs


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
