"""``aggregation=kd``: one adapter, distilled from the nodes' adapters on samples of their generators.

The server's side of the algorithm, in its order (:mod:`vegas_fl.algorithm.distillation` has the mathematics):

1. sample the generators of every class;
2. let the adapters of the class's owners, the teachers, say what each sample should become;
3. train one student, which starts from the teachers' average.
"""

import functools
import logging
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from torch import Tensor

from strategies.base import AdapterStrategy
from strategies.local_adapters import LocalAdapter
from vegas_fl.algorithm.adapter import Adapter, Conditioning
from vegas_fl.algorithm.distillation import distil, distillation_targets, room_for
from vegas_fl.algorithm.span import TokenSpan
from vegas_fl.config import KDConfig, StudentConfig
from vegas_fl.core import seeds
from vegas_fl.core.devices import moved, resolve_device
from vegas_fl.core.progress import Progress
from vegas_fl.storage.generators import load_class_generator
from vegas_fl.storage.names import find_generators
from vegas_fl.storage.tensorfiles import State

log = logging.getLogger("vegas_fl.server")


class KD(AdapterStrategy):
    """Knowledge distillation; the teachers of a class are its owners (or, for comparison, all nodes)."""

    def aggregate(self, round_: int, previous: State, local: list[LocalAdapter]) -> State:
        """The student's weights."""
        settings = self.config.aggregation
        assert isinstance(settings, StudentConfig)
        local = [*local, *self.absent(local)]
        start = time.monotonic()
        progress = Progress(self.name, "server", 1, "adapter")
        with progress, seeds.reproducible(self.config.seed, self.name, round_, threads=self.config.threads):
            samples = self.sample(round_, self.taught(local), settings.samples_per_class)
            x, targets = self.lesson(samples, local)
            student = self.build(self.average(local) if settings.warm_start else previous)
            student = moved(self.span.narrow(student), self.device)
            del samples  # parts of x
            figures = distil(student, x, targets, settings, self.span.coordinates(self.targets))
            progress.add(1)
        self.record.add(stage=self.name, round=round_, seconds=round(time.monotonic() - start, 3), **figures)
        return self.span.widen(student.cpu()).state_dict()

    @functools.cached_property
    def span(self) -> TokenSpan:
        """The coordinates of T5's outputs in which the student learns."""
        varied = self.config.targets != "class"  # targets of clips differ in other directions too
        return TokenSpan(self.targets.t5, 0 if varied else self.config.adapter.hidden)

    @functools.cached_property
    def device(self) -> str:
        """The device that the server's networks run on."""
        return resolve_device(self.config.device)

    def taught(self, local: list[LocalAdapter]) -> set[str]:
        """The classes that the adapters can teach."""
        return {label for adapter in local for label in adapter.samples}

    def absent(self, local: list[LocalAdapter]) -> Iterator[LocalAdapter]:
        """For classes without an owner in this round, the adapters that their owners sent last."""
        missing = set(self.config.classes) - self.taught(local)
        for node, adapter in self.latest.items():
            samples = {label: count for label, count in adapter.samples.items() if label in missing}
            if samples:
                log.warning("%s: taught by the adapter that node %s sent in an earlier round", ", ".join(samples), node)
                yield LocalAdapter(node, samples, adapter.paths)

    def sample(self, round_: int, taught: set[str], count: int) -> dict[str, Tensor]:
        """Samples ``[M, S, D]`` of each class that has a generator and is ``taught``."""
        paths = find_generators(Path(self.config.generator.checkpoint_dir))
        labels = sorted(taught & set(paths))
        if lacking := sorted(set(self.config.classes) - (taught & set(paths))):
            log.warning("the student does not learn %s: no generator, or no owner's adapter", ", ".join(lacking))
        samples = room_for(labels, count, self.spaces.audio_tokens, self.spaces.audio_width)
        for label, room in samples.items():
            generator = load_class_generator(paths[label], self.spaces.audio).to(self.device)
            room.copy_(generator.sample(count, generator=seeds.generator(self.config.seed, self.name, round_, label)))
        return samples

    def lesson(self, samples: dict[str, Tensor], local: list[LocalAdapter]) -> tuple[Tensor, Conditioning]:
        """All samples, and what the student should make of each, in the coordinates of :attr:`span`."""
        settings = self.config.aggregation
        assert isinstance(settings, KDConfig)
        teachers = [
            (
                partial(self._load, adapter),
                dict.fromkeys(samples, adapter.clips) if settings.teachers == "all" else adapter.samples,
            )
            for adapter in local
        ]
        return distillation_targets(samples, teachers, "median" if settings.teachers == "median" else "mean")

    def _load(self, adapter: LocalAdapter) -> Adapter:
        return moved(self.span.narrow(adapter.load(self.spaces).build()), self.device)
