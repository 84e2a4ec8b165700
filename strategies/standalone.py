"""``aggregation=standalone``: every node keeps its own adapter; nothing is merged."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid

from strategies.base import AdapterStrategy, LocalAdapter
from vegas_fl.tensorfiles import State


class Standalone(AdapterStrategy):
    """No global adapter; a node goes on from its own, all begin with the same."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send every node its adapter of the round before."""
        if not self.locals:
            return super().configure_train(server_round, arrays, config, grid)
        return self.train_messages({local.node: local.load(self.spaces).state for local in self.locals}, server_round)

    def aggregate(self, round_: int, previous: State, local: list[LocalAdapter]) -> State | None:
        """None."""
        return None
