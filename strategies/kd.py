"""``aggregation=kd``: one adapter distilled from the nodes' adapters on samples of their generators."""

from __future__ import annotations

import logging
from pathlib import Path

from strategies.base import AdapterStrategy, LocalAdapter
from vegas_fl import seeds
from vegas_fl.adapters import Conditioning
from vegas_fl.checkpoints import find_generators, load_class_generator
from vegas_fl.config import KDConfig
from vegas_fl.devices import resolve_device
from vegas_fl.distillation import distil, owner_targets
from vegas_fl.tensorfiles import State

log = logging.getLogger("vegas_fl.server")


class KD(AdapterStrategy):
    """Knowledge distillation with the owners of a class as its teachers (:mod:`vegas_fl.distillation`)."""

    def aggregate(self, round_: int, previous: State, local: list[LocalAdapter]) -> State:
        """Sample the generators, collect the owners' answers one teacher at a time, train one student."""
        config, settings = self.config, self.config.aggregation
        assert isinstance(settings, KDConfig)
        paths = find_generators(Path(config.generator.checkpoint_dir))
        owned = {label for adapter in local for label in adapter.samples}
        if lacking := sorted(owned - set(paths)):
            log.warning("no generator of %s: not distilled", ", ".join(lacking))
        with seeds.reproducible(config.seed, "kd", round_, threads=config.threads):
            samples = {
                label: load_class_generator(paths[label], self.spaces.audio).sample(
                    settings.samples_per_class, generator=seeds.generator(config.seed, "kd", round_, label)
                )
                for label in sorted(owned & set(paths))
            }
            teachers = ((adapter.load(self.spaces).build(), adapter.samples) for adapter in local)
            x, wanted = owner_targets(samples, teachers)
            student = self.build(self.average(local) if settings.warm_start else previous)
            device = resolve_device(config.device)
            wanted = Conditioning(*(branch.to(device) for branch in wanted))
            figures = distil(student.to(device), x.to(device), wanted, settings)
        self.record.add(stage="kd", round=round_, **figures)
        return student.cpu().state_dict()
