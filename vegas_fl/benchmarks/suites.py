"""The recordings on which methods differ: which clips nodes train on, and which are the unseen ones.

Every node has one class. A suite's settings are tested on clips of other folds: of the folds 1 to 4 each in turn, with
the other three for training, or, where folds are studios ("banks"), of banks that no node has recordings of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vegas_fl.audio.clips import Clip
from vegas_fl.audio.embeddings import embed
from vegas_fl.config import Config, StudentConfig, compose
from vegas_fl.core import seeds
from vegas_fl.core.errors import VegasError
from vegas_fl.data.datasets import open_dataset

LEVELS = (10, 5, 0)
"""Levels in dB of a clip above the clip of another class that is mixed with it."""

FEW = (4, 8)
"""Clips of a class in the suite ``fewshot``."""


class Unseen(NamedTuple):
    """Unseen clips: embeddings ``[N, S, D]``, classes ``[N]``, and the recordings they were cut from."""

    x: Tensor
    labels: Tensor
    recordings: list[str]


@dataclass(frozen=True)
class Task:
    """One training, and the tests of what it gives, by setting.

    ``nodes`` are the clips of each node: positions in the data set's ``x`` [N, S, D] and ``labels`` [N].
    """

    name: str
    nodes: list[Tensor]
    tests: dict[str, Unseen]


@dataclass(frozen=True)
class Mixed(Clip):
    """A clip with another one underneath, which is ``level`` dB softer; the other is repeated or cut to its length."""

    over: Clip
    under: Clip
    level: float

    def content(self) -> str:
        return hashlib.sha256(f"{self.over.content()} {self.under.content()} {self.level}".encode()).hexdigest()

    def read(self, rate: int, max_seconds: float, cancelled: list[str] | None = None) -> np.ndarray:
        over, under = (clip.read(rate, max_seconds, cancelled) for clip in (self.over, self.under))
        under = np.resize(under, len(over))
        power = np.square(over).mean() / max(np.square(under).mean(), 1e-12)
        mixed = over + under * np.sqrt(power / 10 ** (self.level / 10))
        return np.asarray(mixed / max(1.0, np.abs(mixed).max()), dtype=np.float32)

    def format(self) -> tuple[float, int]:
        return self.over.format()


@dataclass
class Recordings:
    """All clips of a data set in ESC-50's layout, embedded with the encoder of ``config``."""

    config: Config
    clips: list[Clip]
    x: Tensor = field(init=False)
    labels: Tensor = field(init=False)
    folds: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.x = self.embedded(self.clips)
        self.labels = torch.tensor([self.config.classes.index(clip.label) for clip in self.clips])
        self.folds = torch.tensor([clip.fold or 0 for clip in self.clips])

    @classmethod
    def of(cls, root: Path, overrides: Sequence[str] = ()) -> Recordings:
        """Those in ``root``: instruments if it has them, else ESC-10's classes. ``overrides`` choose the encoder, the
        generator, the adapter and the student.

        Raises
        ------
        VegasError
            It has neither.
        """
        for experiment in ("instruments_20n", "esc10_10n"):
            config = compose([f"experiment={experiment}", f"data.root={root}", *overrides])
            if not isinstance(config.aggregation, StudentConfig):
                raise VegasError(f"the suites need aggregation=kd or replay, got aggregation={config.aggregation.name}")
            dataset = open_dataset(config.data)
            if set(config.classes) <= set(dataset.classes):
                return cls(config, [clip for label in config.classes for clip in dataset.clips(label)])
        raise VegasError(
            f"{root} has the classes {', '.join(dataset.classes)}; expected those of ESC-10 or of "
            "conf/experiment/instruments_20n.yaml"
        )

    @property
    def banks(self) -> list[int]:
        """Folds that are studios; none in ESC-50, whose five folds are parts of one collection."""
        found = sorted(set(self.folds.tolist()))
        return found if len(found) < 4 else []

    def embedded(self, clips: Sequence[Clip]) -> Tensor:
        """Embeddings ``[N, S, D]``, from the cache where it has them."""
        cache = Path(self.config.paths.cache).expanduser() / "embeddings"
        seconds = self.config.data.max_seconds
        return embed(clips, self.config.encoder, cache_dir=cache, max_seconds=seconds, progress="benchmark")

    def task(self, setting: str, train: Sequence[int], test: int, limit: int | None = None, seed: int = 0) -> Task:
        """Training on the folds ``train``, on ``limit`` clips of each class drawn by ``seed``, and a test on the fold
        ``test``. Each bank of a class is a node of its own."""
        nodes = []
        for label in range(len(self.config.classes)):
            for owned in [[bank] for bank in train] if self.banks else [train]:
                mine = (torch.isin(self.folds, torch.tensor(owned)) & (self.labels == label)).nonzero()[:, 0]
                order = torch.randperm(len(mine), generator=seeds.generator("suite", seed, test, label))
                nodes.append(mine[order[:limit]] if limit else mine)
        return Task(f"{setting} {train} {test}", nodes, {setting: self.test(test)})

    def test(self, fold: int) -> Unseen:
        """The clips of a fold."""
        rows = (self.folds == fold).nonzero()[:, 0]
        names = [self.clips[row].source or self.clips[row].name for row in rows.tolist()]
        return Unseen(self.x[rows], self.labels[rows], names)

    def mixed(self, fold: int, level: float) -> Unseen:
        """The clips of a fold, each with one of another class underneath."""
        rows = (self.folds == fold).nonzero()[:, 0]
        clips = [self.clips[row] for row in rows.tolist()]
        chosen = np.random.default_rng(seeds.derive_seed("mixed", fold, level))
        mixed = []
        for clip in clips:
            under = clips[chosen.choice([i for i, other in enumerate(clips) if other.label != clip.label])]
            name = f"{clip.name} over {under.name}"
            mixed.append(Mixed(clip.label, name, clip.fold, source=clip.source, over=clip, under=under, level=level))
        return self.test(fold)._replace(x=self.embedded(mixed))

    @property
    def rotation(self) -> list[tuple[list[int], int]]:
        """Training folds and test fold: each of folds 1 to 4 in turn, or bank 1 to 2 and 2 to 1."""
        if self.banks:
            return [([1], 2), ([2], 1)]
        return [([other for other in (1, 2, 3, 4) if other != fold], fold) for fold in (1, 2, 3, 4)]


def rotated(recordings: Recordings, seed: int) -> Iterator[Task]:
    """Folds 1 to 4 in turn (320 decisions), or one bank to another (1200 decisions)."""
    setting = "one bank to another" if recordings.banks else "folds 1 to 4 in turn"
    for train, test in recordings.rotation:
        yield recordings.task(setting, train, test)


def esc10(recordings: Recordings, seed: int) -> Iterator[Task]:
    """:func:`rotated`, of ESC-10."""
    if recordings.banks:
        raise VegasError("the suite esc10 needs the folder of ESC-50 or ESC-10; for instruments: --suite instruments")
    yield from rotated(recordings, seed)


def instruments(recordings: Recordings, seed: int) -> Iterator[Task]:
    """:func:`rotated`, of instruments."""
    if len(recordings.banks) < 2:
        raise VegasError("the suite instruments needs two folds that are banks; for ESC-10: --suite esc10")
    yield from rotated(recordings, seed)


def crossbank(recordings: Recordings, seed: int) -> Iterator[Task]:
    """Two owners of each class, of two banks, and a third bank that is unseen."""
    if len(recordings.banks) < 3:
        raise VegasError("the suite crossbank needs three folds that are banks; give it the folder of instruments")
    for test in (1, 2, 3):
        train = [bank for bank in (1, 2, 3) if bank != test]
        yield recordings.task(f"banks {train[0]} and {train[1]} to {test}", train, test)


def fewshot(recordings: Recordings, seed: int) -> Iterator[Task]:
    """Few clips of each class, others for each seed."""
    for count in FEW:
        for train, test in recordings.rotation:
            yield recordings.task(f"{count} clips a class", train, test, count, seed)


def noisy(recordings: Recordings, seed: int) -> Iterator[Task]:
    """Test clips as they are, and with a clip of another class underneath."""
    for train, test in recordings.rotation:
        task = recordings.task("clean", train, test)
        yield replace(task, tests=task.tests | {f"{level} dB": recordings.mixed(test, level) for level in LEVELS})


SUITES: dict[str, Callable[[Recordings, int], Iterator[Task]]] = {
    "esc10": esc10,
    "instruments": instruments,
    "fewshot": fewshot,
    "noisy": noisy,
    "crossbank": crossbank,
}
"""The tasks of each suite, for a seed."""
