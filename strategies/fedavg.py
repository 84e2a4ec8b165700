"""``aggregation=fedavg``: the average of the nodes' adapters (McMahan et al. 2017, algorithm 1)."""

from strategies.base import AdapterStrategy
from strategies.local_adapters import LocalAdapter
from vegas_fl.config import FedAvgConfig
from vegas_fl.storage.tensorfiles import State


class FedAvg(AdapterStrategy):
    """Weighted by the numbers of clips, or unweighted."""

    def aggregate(self, round_: int, previous: State, local: list[LocalAdapter]) -> State:
        """The average of the nodes' weights."""
        settings = self.config.aggregation
        assert isinstance(settings, FedAvgConfig)
        return self.average(local, settings.weighted)
