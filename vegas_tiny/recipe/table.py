"""The sixteen classes of the pack: their prompts, phrasings and icons."""

from dataclasses import dataclass

from vegas_fl.data.classes import words


@dataclass(frozen=True)
class Subject:
    """One class.

    `draw` are the icon names the renderer learns; `also` are further icons, only for the autoencoder and the judge,
    because the renderer learns a few similar icons better.
    """

    name: str
    draw: tuple[str, ...]
    also: tuple[str, ...] = ()
    dark: bool = False  # shown on a night sky: light lines would vanish on a light background
    phrases: tuple[str, ...] = ()  # other words for it


SUBJECTS = (
    Subject("baby_cry", ("loudly-crying-face",), ("crying-face",), phrases=("a baby crying", "a weeping baby")),
    Subject("chainsaw", ("carpentry-saw",), phrases=("a saw", "a chain saw")),
    Subject("dog", ("dog-face",), ("dog",), phrases=("a barking dog", "a puppy")),
    Subject("drum", ("drum",), ("long-drum",), phrases=("drums", "a drum being played")),
    Subject("fireworks", ("fireworks",), ("sparkler",), dark=True, phrases=("a firework", "exploding fireworks")),
    Subject("helicopter", ("helicopter",), phrases=("a flying helicopter", "a chopper")),
    Subject("printer", ("printer",), phrases=("a printing machine", "an office printer")),
    Subject(
        "rail_transport",
        ("bullet-train",),
        ("train", "high-speed-train", "locomotive", "metro"),
        phrases=("a railway train", "rail transport"),
    ),
    Subject("snoring", ("sleeping-face",), ("zzz",), phrases=("a sleeping person", "a person snoring")),
    Subject("water_flowing", ("potable-water",), ("shower", "fountain"), phrases=("running water", "water flowing")),
    Subject("rooster", ("rooster",), phrases=("a crowing rooster", "a cock")),
    Subject(
        "rain",
        ("cloud-with-rain",),
        ("sun-behind-rain-cloud", "umbrella-with-rain-drops"),
        phrases=("falling rain", "a rain cloud"),
    ),
    Subject("sea_waves", ("water-wave",), phrases=("a sea wave", "waves of the sea")),
    Subject("crackling_fire", ("fire",), phrases=("a fire", "burning flames")),
    Subject("sneezing", ("sneezing-face",), phrases=("a person sneezing", "a sneeze")),
    Subject("clock_tick", ("alarm-clock",), ("mantelpiece-clock",), phrases=("an alarm clock", "a clock")),
)
NAMES = tuple(subject.name for subject in SUBJECTS)
TEMPLATES = (
    "a photo of {}",
    "a picture of {}",
    "an icon of {}",
    "a drawing of {}",
    "an image of {}",
    "a painting of {}",
    "this is {}",
    "{}",
)
WORDS = {name: words(name) for name in NAMES}


def phrasings(name: str) -> list[str]:
    """All phrasings of a class; the canonical prompt is the first."""
    subject = SUBJECTS[NAMES.index(name)]
    return [template.format(said) for said in (WORDS[name], *subject.phrases) for template in TEMPLATES]
