"""``aggregation=replay``: one adapter trained on generator samples and text targets, without teachers."""

from __future__ import annotations

import torch

from strategies.kd import StudentStrategy
from strategies.local_adapters import LocalAdapter
from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.algorithm.distillation import text_replay


class Replay(StudentStrategy):
    """The nodes' adapters are saved for comparison and not used."""

    def learnt(self, local: list[LocalAdapter]) -> set[str]:
        """All classes: no owner needs to be there."""
        return set(self.config.classes)

    def lesson(self, samples: dict[str, torch.Tensor], local: list[LocalAdapter]) -> tuple[torch.Tensor, Conditioning]:
        """The text target of each sample's class."""
        return text_replay(samples, self.config.classes, self.targets)
