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

ESC50 = {
    "airplane": "an airplane",
    "breathing": "a breathing person",
    "brushing_teeth": "a person brushing teeth",
    "can_opening": "a can being opened",
    "car_horn": "a car horn",
    "cat": "a cat",
    "chainsaw": "a chainsaw",
    "chirping_birds": "chirping birds",
    "church_bells": "church bells",
    "clapping": "clapping hands",
    "clock_alarm": "an alarm clock",
    "clock_tick": "a ticking clock",
    "coughing": "a coughing person",
    "cow": "a cow",
    "crackling_fire": "a crackling fire",
    "crickets": "crickets",
    "crow": "a crow",
    "crying_baby": "a crying baby",
    "dog": "a dog",
    "door_wood_creaks": "a creaking wooden door",
    "door_wood_knock": "a knock on a wooden door",
    "drinking_sipping": "a drinking person",
    "engine": "an engine",
    "fireworks": "fireworks",
    "footsteps": "footsteps",
    "frog": "a frog",
    "glass_breaking": "breaking glass",
    "hand_saw": "a hand saw",
    "helicopter": "a helicopter",
    "hen": "a hen",
    "insects": "flying insects",
    "keyboard_typing": "hands typing on a keyboard",
    "laughing": "a laughing person",
    "mouse_click": "a computer mouse",
    "pig": "a pig",
    "pouring_water": "water being poured",
    "rain": "rain",
    "rooster": "a rooster",
    "sea_waves": "sea waves",
    "sheep": "a sheep",
    "siren": "a siren",
    "sneezing": "a sneezing person",
    "snoring": "a snoring person",
    "thunderstorm": "a thunderstorm",
    "toilet_flush": "a flushing toilet",
    "train": "a train",
    "vacuum_cleaner": "a vacuum cleaner",
    "washing_machine": "a washing machine",
    "water_drops": "water drops",
    "wind": "wind",
}
"""The fifty classes of ESC-50, named as its csv names them."""

WORDS = VEGAS | ESC50
"""The words the tiny pack was trained with are among these: to change those of a class it can draw
(vegas_tiny/README.md) is to train it again."""


def words(name: str) -> str:
    """The words for a class, "a crying baby" for ``baby_cry``; of a name not in the table, its own words."""
    return WORDS.get(name, name.replace("_", " "))


def prompt(name: str) -> str:
    """The text whose FLUX embeddings are the targets of a class: "a photo of a crying baby"."""
    return f"a photo of {words(name)}"
