"""``aggregation=replay``: one adapter, trained on generator samples and text targets, without teachers."""

from torch import Tensor

from strategies.kd import KD
from strategies.local_adapters import LocalAdapter
from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.algorithm.distillation import text_replay


class Replay(KD):
    """Distillation from the text encoders: the nodes' adapters are saved for comparison only."""

    def taught(self, local: list[LocalAdapter]) -> set[str]:
        """All classes: no owner needs to be there."""
        return set(self.config.classes)

    def lesson(self, samples: dict[str, Tensor], local: list[LocalAdapter]) -> tuple[Tensor, Conditioning]:
        """All samples, and the text target of each one's class."""
        return text_replay(samples, self.config.classes, self.span.coordinates(self.targets))
