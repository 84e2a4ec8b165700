"""``aggregation=standalone``: every node keeps its own adapter; nothing is merged."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid

from strategies.base import AdapterStrategy
from strategies.local_adapters import LocalAdapter
from vegas_fl.storage.tensorfiles import State


class Standalone(AdapterStrategy):
    """No global adapter; a node goes on from its own, all begin with the same."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send every node the adapter it trained last, or the first one."""
        self.previous = arrays.to_torch_state_dict()
        own = {node: local.load(self.spaces).state for node, local in self.latest.items()}
        states = {node: own.get(node, self.previous) for node in self.federation.nodes.values()}
        return self.train_messages(states, server_round)

    def aggregate(self, round_: int, previous: State, local: list[LocalAdapter]) -> State | None:
        """None."""
        return None
