"""Words for class names, from which prompts are made."""

from collections.abc import Sequence

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
"""The ten classes of VEGAS, and the words for each."""

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
"""The fifty classes of ESC-50, named as in its csv, and the words for each."""

WORDS = VEGAS | ESC50
"""Words for all known classes. The tiny pack was trained with some of them (vegas_tiny/README.md); it must be trained
again if these change."""


def words(name: str) -> str:
    """The words for a class: "a crying baby" for ``baby_cry``; for an unknown class, the words of its name."""
    return WORDS.get(name, name.replace("_", " "))


def prompt(name: str) -> str:
    """The text whose FLUX embeddings are a class's targets: "a photo of a crying baby"."""
    return f"a photo of {words(name)}"


def described(label: str, attributes: Sequence[str]) -> str:
    """A class with attributes: "a loud, high-pitched dog"."""
    noun = words(label)
    if not attributes:
        return noun
    article, _, rest = noun.partition(" ")
    if article in ("a", "an"):
        return f"a {', '.join(attributes)} {rest}"
    return f"{', '.join(attributes)} {noun}"
