"""Words for class names: the prompt of a class is made of words, never of a folder's name."""

from __future__ import annotations

VEGAS = {
    "baby_cry": "a crying baby",
    "chainsaw": "a chainsaw",
    "dog": "a dog",
    "drum": "a drum",
    "fireworks": "fireworks",
    "helicopter": "a helicopter",
    "printer": "a printer",
    "rail_transport": "a train",
    "snoring": "a snoring person",
    "water_flowing": "flowing water",
}
"""The ten classes of VEGAS and the words for each."""

ESC10 = {
    "chainsaw": "a chainsaw",
    "clock_tick": "a ticking clock",
    "crackling_fire": "a crackling fire",
    "crying_baby": "a crying baby",
    "dog": "a dog",
    "helicopter": "a helicopter",
    "rain": "rain",
    "rooster": "a rooster",
    "sea_waves": "sea waves",
    "sneezing": "a sneezing person",
}
"""The ten classes of ESC-10, named as ESC-50's csv names them."""

WORDS = VEGAS | ESC10


def words(name: str) -> str:
    """The words for a class, "a crying baby" for ``baby_cry``; of a name not in the table, its own words."""
    return WORDS.get(name, name.replace("_", " "))


def prompt(name: str) -> str:
    """The text whose FLUX embeddings are the targets of a class: "a photo of a crying baby"."""
    return f"a photo of {words(name)}"
