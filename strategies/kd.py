"""``aggregation=kd``: one adapter distilled from the nodes' adapters on samples of their generators."""

from __future__ import annotations

from collections.abc import Callable

import torch

from strategies.local_adapters import LocalAdapter
from strategies.student import StudentStrategy
from vegas_fl.adapters import Adapter, Conditioning
from vegas_fl.config import KDConfig
from vegas_fl.distillation import median_targets, owner_targets


class KD(StudentStrategy):
    """Knowledge distillation with the owners of a class, or all nodes, as its teachers."""

    def lesson(self, samples: dict[str, torch.Tensor], local: list[LocalAdapter]) -> tuple[torch.Tensor, Conditioning]:
        """What the teachers make of the samples; one teacher is held at a time."""
        settings = self.config.aggregation
        assert isinstance(settings, KDConfig)
        if settings.teachers == "median":
            return median_targets(samples, [(self._loader(adapter), adapter.samples) for adapter in local])
        everyone = settings.teachers == "all"
        return owner_targets(
            samples,
            (
                (
                    adapter.load(self.spaces).build(),
                    dict.fromkeys(samples, adapter.clips) if everyone else adapter.samples,
                )
                for adapter in local
            ),
        )

    def _loader(self, adapter: LocalAdapter) -> Callable[[], Adapter]:
        return lambda: adapter.load(self.spaces).build()
