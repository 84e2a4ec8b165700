"""What recordings the nodes of a configuration hold: counts, lengths, sample rates and problems.

Unlike the checks before a run, :func:`survey` can read every recording, and it compares nodes with each other, which
only the owner of all data (or a simulation) can do.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vegas_fl.audio.clips import Clip, loudest_channel
from vegas_fl.config import PARTS, Config
from vegas_fl.core.errors import VegasError, some
from vegas_fl.core.files import write_atomically
from vegas_fl.core.progress import Progress
from vegas_fl.data.checks import data_sets
from vegas_fl.data.datasets import open_dataset
from vegas_fl.data.splits import node_clips

HASH_RATE = 16_000
"""Hz at which recordings are compared, so that a wav file equals the flac file made from it."""


@dataclass(frozen=True)
class SurveyedClip:
    """A clip of a node."""

    node: str  # that holds it
    part: str  # of the split: train, val or test
    clip: Clip
    seconds: float  # length of the whole recording; NaN if it cannot be read
    rate: int  # its sample rate in Hz; 0 if it cannot be read
    sound: str  # hash of its samples; "" if they were not read
    problem: str  # why it cannot be used, or ""
    cancels: bool = False  # whether its channels cancel each other

    @property
    def place(self) -> str:
        """Its node and part, in words."""
        return f"node {self.node} ({self.part})"


class ClassSummary(NamedTuple):
    """A class on a node: clips in each part; shortest, mean and longest clip in seconds; sample rates in Hz."""

    node: str
    label: str
    clips: dict[str, int]
    seconds: tuple[float, float, float]
    rates: tuple[int, ...]


def survey(config: Config, listen: bool, progress: bool = False) -> list[SurveyedClip]:
    """All clips of all nodes of a configuration in which :func:`vegas_fl.data.checks.check` finds no mistake.

    With ``listen``, every recording is read to its end, not only its header.
    """
    held = list(_held(config))

    def look(place: tuple[str, str, Clip]) -> SurveyedClip:
        node, part, clip = place
        cancelled: list[str] = []
        try:
            seconds, rate = clip.format()
            samples = clip.read(HASH_RATE, config.data_of(node).max_seconds, cancelled) if listen else None
        except VegasError as error:
            return SurveyedClip(node, part, clip, float("nan"), 0, "", str(error))
        sound = "" if samples is None else sha256(np.round(samples * 32767).astype("<i2").tobytes()).hexdigest()
        return SurveyedClip(node, part, clip, seconds, rate, sound, "", bool(cancelled))

    entries = []
    with Progress("reading", "data", len(held), "clip", show=progress) as shown, ThreadPoolExecutor() as readers:
        for entry in readers.map(look, held):
            entries.append(entry)
            shown.add(1)
    return entries


def _held(config: Config) -> Iterator[tuple[str, str, Clip]]:
    for _, data, nodes in data_sets(config):
        dataset = open_dataset(data)
        for node in nodes:
            split = node_clips(data, config.peers(node), node, dataset)
            for part in PARTS:
                yield from ((node, part, clip) for clips in getattr(split, part).values() for clip in clips)


def problems(entries: Sequence[SurveyedClip]) -> list[str]:
    """What is wrong with the recordings, as sentences: those that cannot be used, copies, and clips cut from one
    recording that are in different parts. The latter two are found only if the recordings were read."""
    found = [entry.problem for entry in entries if entry.problem]
    readable = [entry for entry in entries if entry.sound]
    for copies in _groups(readable, lambda entry: entry.sound):
        parts = {copy.part for copy in copies}
        where = "in both training and test sets" if {"train", "test"} <= parts else "more than once"
        found.append(f"one recording appears {where}: {_places(copies)}; keep one")
    for related in _groups(readable, _source):
        if len({entry.part for entry in related}) > 1 and len({entry.sound for entry in related}) > 1:
            found.append(
                f"clips cut from one recording are in different parts: {_places(related)}; put them into one fold, or "
                "keep one part"
            )
    return found


def notes(config: Config, entries: Sequence[SurveyedClip]) -> list[str]:
    """What its owner may want to know of the data, as sentences: recordings of which one channel is used, and files
    that look like recordings of the nodes' classes but are not read."""
    found = []
    if cancelled := {entry.clip.name for entry in entries if entry.cancels}:
        found.append(loudest_channel(list(cancelled)))
    for _, data, nodes in data_sets(config):
        dataset = open_dataset(data)
        labels = dict.fromkeys(label for node in nodes for label in config.nodes[node].selected_classes)
        found += [sentence for label in labels for sentence in dataset.passed_over(label)]
    return list(dict.fromkeys(found))


def _groups(entries: Sequence[SurveyedClip], key: Callable[[SurveyedClip], object]) -> Iterator[list[SurveyedClip]]:
    """Groups of two or more entries with the same key (None: in no group)."""
    groups: dict[object, list[SurveyedClip]] = defaultdict(list)
    for entry in entries:
        if (value := key(entry)) is not None:
            groups[value].append(entry)
    yield from (group for group in groups.values() if len(group) > 1)


def _source(entry: SurveyedClip) -> object:
    """The recording the clip was cut from; names of such recordings are unique within one folder only."""
    clip = entry.clip
    return None if clip.source is None else (Path(clip.name).parent, clip.source)


def _places(entries: Sequence[SurveyedClip]) -> str:
    return some([f"{entry.clip.name} in {entry.place}" for entry in entries])


def summaries(entries: Sequence[SurveyedClip]) -> list[ClassSummary]:
    """One summary for each class of each node."""
    groups: dict[tuple[str, str], list[SurveyedClip]] = defaultdict(list)
    for entry in entries:
        groups[entry.node, entry.clip.label].append(entry)
    made = []
    for (node, label), group in groups.items():
        lengths = [entry.seconds for entry in group if not entry.problem] or [float("nan")]
        made.append(
            ClassSummary(
                node,
                label,
                {part: sum(entry.part == part for entry in group) for part in PARTS},
                (min(lengths), float(np.mean(lengths)), max(lengths)),
                tuple(sorted({entry.rate for entry in group if entry.rate})),
            )
        )
    return made


def table(made: Sequence[ClassSummary]) -> str:
    """The summaries and their total, as text."""
    width = max([5, *(len(summary.label) for summary in made)])
    lines = [
        f"{'node':>4}  {'class':<{width}}" + "".join(f"{part:>7}" for part in PARTS) + "   seconds (mean)       Hz"
    ]
    for summary in made:
        shortest, mean, longest = summary.seconds
        lines.append(
            f"{summary.node:>4}  {summary.label:<{width}}"
            + "".join(f"{summary.clips[part]:>7}" for part in PARTS)
            + f"   {f'{shortest:.1f}-{longest:.1f} ({mean:.1f})':<19}  {', '.join(map(str, summary.rates))}"
        )
    total = "".join(f"{sum(summary.clips[part] for summary in made):>7}" for part in PARTS)
    return "\n".join([*lines, f"{'all':>4}  {'':<{width}}{total}"])


def picture(entries: Sequence[SurveyedClip], path: Path) -> None:
    """Draw the number of clips of each class on each node, and their lengths, as a PNG."""
    from matplotlib.figure import Figure

    made = summaries(entries)
    figure = Figure(figsize=(11, max(3.0, 1.5 + 0.22 * len(made))), layout="constrained")
    counts, lengths = figure.subplots(1, 2, width_ratios=(2, 1))
    names = [f"{summary.node}: {summary.label}" for summary in made]
    left = np.zeros(len(made))
    for part in PARTS:
        clips = np.array([summary.clips[part] for summary in made])
        counts.barh(names, clips, left=left, label=part)
        left += clips
    counts.invert_yaxis()
    counts.set(xlabel="clips", title="who holds what, for what")
    figure.legend(loc="outside lower left", ncols=len(PARTS), frameon=False)
    counts.tick_params(axis="y", labelsize=7)
    lengths.hist([entry.seconds for entry in entries if not entry.problem], bins=30)
    lengths.set(xlabel="seconds", ylabel="clips", title="lengths")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    write_atomically(path, file.getvalue())
