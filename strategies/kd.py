"""``aggregation=kd``: one adapter distilled from the nodes' adapters on samples of their generators."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from strategies.base import AdapterStrategy
from strategies.local_adapters import LocalAdapter
from vegas_fl.algorithm.adapter import Adapter, Conditioning
from vegas_fl.algorithm.distillation import distil, distillation_targets
from vegas_fl.config import KDConfig, StudentConfig
from vegas_fl.core import seeds
from vegas_fl.core.devices import resolve_device
from vegas_fl.storage.generators import load_class_generator
from vegas_fl.storage.names import find_generators
from vegas_fl.storage.tensorfiles import State

log = logging.getLogger("vegas_fl.server")


class StudentStrategy(AdapterStrategy):
    """Sample the generators, let a subclass say what the samples should become, train one student."""

    @abstractmethod
    def lesson(self, samples: dict[str, torch.Tensor], local: list[LocalAdapter]) -> tuple[torch.Tensor, Conditioning]:
        """Samples of all classes, ``[M, S, D]``, and what the student is to make of each."""

    def learnt(self, local: list[LocalAdapter]) -> set[str]:
        """The classes a lesson can be made of."""
        return {label for adapter in local for label in adapter.samples}

    def _absent(self, local: list[LocalAdapter]) -> Iterator[LocalAdapter]:
        """For classes none of whose owners is there, the adapters that nodes sent last."""
        missing = set(self.config.classes) - self.learnt(local)
        for node, adapter in self.latest.items():
            samples = {label: count for label, count in adapter.samples.items() if label in missing}
            if samples:
                log.warning("%s: taught by what node %s sent in an earlier round", ", ".join(samples), node)
                yield LocalAdapter(node, samples, adapter.paths)

    def aggregate(self, round_: int, previous: State, local: list[LocalAdapter]) -> State:
        """The student."""
        config, settings = self.config, self.config.aggregation
        assert isinstance(settings, StudentConfig)
        paths = find_generators(Path(config.generator.checkpoint_dir))
        local = [*local, *self._absent(local)]
        owned = self.learnt(local)
        if lacking := sorted(set(config.classes) - (owned & set(paths))):
            log.warning("without a generator or an owner's adapter, the student does not learn %s", ", ".join(lacking))
        start = time.monotonic()
        with seeds.reproducible(config.seed, self.name, round_, threads=config.threads):
            samples = {
                label: load_class_generator(paths[label], self.spaces.audio).sample(
                    settings.samples_per_class, generator=seeds.generator(config.seed, self.name, round_, label)
                )
                for label in sorted(owned & set(paths))
            }
            x, wanted = self.lesson(samples, local)
            student = self.build(self.average(local) if settings.warm_start else previous)
            device = resolve_device(config.device)
            wanted = Conditioning(*(branch.to(device) for branch in wanted))
            figures = distil(student.to(device), x.to(device), wanted, settings)
        self.record.add(stage=self.name, round=round_, seconds=round(time.monotonic() - start, 3), **figures)
        return student.cpu().state_dict()


class KD(StudentStrategy):
    """Knowledge distillation with the owners of a class, or all nodes, as its teachers."""

    def lesson(self, samples: dict[str, torch.Tensor], local: list[LocalAdapter]) -> tuple[torch.Tensor, Conditioning]:
        """What the teachers make of the samples; one teacher is held at a time."""
        settings = self.config.aggregation
        assert isinstance(settings, KDConfig)
        everyone = settings.teachers == "all"
        teachers = [
            (self._loader(adapter), dict.fromkeys(samples, adapter.clips) if everyone else adapter.samples)
            for adapter in local
        ]
        return distillation_targets(samples, teachers, "median" if settings.teachers == "median" else "mean")

    def _loader(self, adapter: LocalAdapter) -> Callable[[], Adapter]:
        return lambda: adapter.load(self.spaces).build()
