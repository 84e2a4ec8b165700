"""What the nodes of a configuration hold: counts, lengths and rates; and what is wrong with it.

Unlike the checks before a run, :func:`survey` can listen to every recording, and compares the nodes with each other:
something only the owner of all data (or a simulation) can do.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from vegas_fl.audio.clips import Clip
from vegas_fl.config import PARTS, Config
from vegas_fl.core.errors import VegasError, some
from vegas_fl.core.files import write_atomically
from vegas_fl.data.datasets import open_dataset
from vegas_fl.data.splits import node_clips

HASH_RATE = 16_000
"""Hz at which recordings are compared: a wav and the flac made of it are the same."""


@dataclass(frozen=True)
class Finding:
    """One clip where it was found, and what was found.

    Attributes
    ----------
    node, part : str
        Who holds it, and for what: train, val or test.
    clip : Clip
    seconds : float
        Length of the whole recording; NaN if it cannot be read.
    rate : int
        Its rate in Hz; 0 if it cannot be read.
    sound : str
        Hash of what is heard; "" if nobody listened.
    problem : str
        Why it cannot be used, or "".
    """

    node: str
    part: str
    clip: Clip
    seconds: float
    rate: int
    sound: str
    problem: str

    @property
    def place(self) -> str:
        """Who holds it for what, in words."""
        return f"node {self.node} ({self.part})"


class Row(NamedTuple):
    """A class on a node: clips of each part, seconds of the shortest, the mean and the longest, rates in Hz."""

    node: str
    label: str
    clips: dict[str, int]
    seconds: tuple[float, float, float]
    rates: tuple[int, ...]


def survey(config: Config, listen: bool, progress: bool = False) -> list[Finding]:
    """All clips of all nodes.

    Parameters
    ----------
    config : Config
        Its data have passed :func:`vegas_fl.data.checks.check`.
    listen : bool
        Read every recording to its end, instead of only what its header says.
    progress : bool
        Show a progress bar.
    """
    held = list(_held(config))

    def look(place: tuple[str, str, Clip]) -> Finding:
        node, part, clip = place
        try:
            seconds, rate = clip.format()
            sound = _sound(clip, config.data_of(node).max_seconds) if listen else ""
        except VegasError as error:
            return Finding(node, part, clip, float("nan"), 0, "", str(error))
        return Finding(node, part, clip, seconds, rate, sound, "")

    with ThreadPoolExecutor(os.cpu_count()) as readers:
        found = readers.map(look, held)
        return list(tqdm(found, "reading", len(held), unit="clip", mininterval=1, disable=not progress))


def _held(config: Config) -> Iterator[tuple[str, str, Clip]]:
    for node in config.nodes:
        data = config.data_of(node)
        split = node_clips(data, config.peers(node), node, open_dataset(data))
        for part in PARTS:
            yield from ((node, part, clip) for clips in getattr(split, part).values() for clip in clips)


def _sound(clip: Clip, max_seconds: float) -> str:
    samples = clip.read(HASH_RATE, max_seconds)
    return hashlib.sha256(np.round(samples * 32767).astype("<i2").tobytes()).hexdigest()


def problems(findings: Sequence[Finding]) -> list[str]:
    """What is wrong with a survey that listened, as sentences: recordings that cannot be used, copies, and clips cut
    from one recording that are trained on here and tested on there."""
    told = [finding.problem for finding in findings if finding.problem]
    heard = [finding for finding in findings if finding.sound]
    for copies in _groups(heard, lambda finding: finding.sound):
        told.append(f"one recording {_uses(copies)} more than once: {_places(copies)}; keep one")
    for related in _groups(heard, _source):
        if len({finding.part for finding in related}) > 1 and len({finding.sound for finding in related}) > 1:
            told.append(
                f"clips cut from one recording are in different parts: {_places(related)}; put them into one fold, or "
                "keep one part"
            )
    return told


def passed_over(config: Config) -> list[str]:
    """What looks like recordings of the nodes' classes and is not read, as sentences."""
    told = []
    for node, entry in config.nodes.items():
        dataset = open_dataset(config.data_of(node))
        told += [sentence for label in entry.selected_classes for sentence in dataset.passed_over(label)]
    return list(dict.fromkeys(told))


def _groups(findings: Sequence[Finding], key: Callable[[Finding], object]) -> Iterator[list[Finding]]:
    """Findings that have the same key, where several have."""
    groups: dict[object, list[Finding]] = defaultdict(list)
    for finding in findings:
        if (value := key(finding)) is not None:
            groups[value].append(finding)
    yield from (group for group in groups.values() if len(group) > 1)


def _source(finding: Finding) -> object:
    """What the clip was cut from; names of sources mean something within one folder only."""
    clip = finding.clip
    return None if clip.source is None else (Path(clip.name).parent, clip.source)


def _uses(copies: Sequence[Finding]) -> str:
    parts = {copy.part for copy in copies}
    return "is trained on and tested on, it is there" if {"train", "test"} <= parts else "is there"


def _places(findings: Sequence[Finding]) -> str:
    return some([f"{finding.clip.name} in {finding.place}" for finding in findings])


def rows(findings: Sequence[Finding]) -> list[Row]:
    """A row for each class of each node."""
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.node, finding.clip.label].append(finding)
    made = []
    for (node, label), group in groups.items():
        lengths = [finding.seconds for finding in group if not finding.problem] or [float("nan")]
        made.append(
            Row(
                node,
                label,
                {part: sum(finding.part == part for finding in group) for part in PARTS},
                (min(lengths), float(np.mean(lengths)), max(lengths)),
                tuple(sorted({finding.rate for finding in group if finding.rate})),
            )
        )
    return made


def table(made: Sequence[Row]) -> str:
    """The rows as text, and their sum."""
    width = max([5, *(len(row.label) for row in made)])
    lines = [
        f"{'node':>4}  {'class':<{width}}" + "".join(f"{part:>7}" for part in PARTS) + "   seconds (mean)       Hz"
    ]
    for row in made:
        shortest, mean, longest = row.seconds
        lines.append(
            f"{row.node:>4}  {row.label:<{width}}"
            + "".join(f"{row.clips[part]:>7}" for part in PARTS)
            + f"   {f'{shortest:.1f}-{longest:.1f} ({mean:.1f})':<19}  {', '.join(map(str, row.rates))}"
        )
    total = "".join(f"{sum(row.clips[part] for row in made):>7}" for part in PARTS)
    return "\n".join([*lines, f"{'all':>4}  {'':<{width}}{total}"])


def picture(findings: Sequence[Finding], path: Path) -> None:
    """Clips of each class by node, and how long they are, as a PNG."""
    from matplotlib.figure import Figure

    made = rows(findings)
    figure = Figure(figsize=(11, max(3.0, 1.5 + 0.22 * len(made))), layout="constrained")
    counts, lengths = figure.subplots(1, 2, width_ratios=(2, 1))
    names = [f"{row.node}: {row.label}" for row in made]
    left = np.zeros(len(made))
    for part in PARTS:
        clips = np.array([row.clips[part] for row in made])
        counts.barh(names, clips, left=left, label=part)
        left += clips
    counts.invert_yaxis()
    counts.set(xlabel="clips", title="who holds what, for what")
    figure.legend(loc="outside lower left", ncols=len(PARTS), frameon=False)
    counts.tick_params(axis="y", labelsize=7)
    lengths.hist([finding.seconds for finding in findings if not finding.problem], bins=30)
    lengths.set(xlabel="seconds", ylabel="clips", title="lengths")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    write_atomically(path, file.getvalue())
