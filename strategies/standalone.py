"""``aggregation=standalone``: every node keeps its own adapter; nothing is merged."""

from strategies.base import AdapterStrategy
from strategies.local_adapters import LocalAdapter
from strategies.trust import Screen
from vegas_fl.storage.tensorfiles import State


class Standalone(AdapterStrategy):
    """All nodes start from the same adapter, and each goes on from its own."""

    def start_of(self, node: str, state: State) -> State:
        """The adapter that the node trained last, or the first one."""
        return self.latest[node].load(self.spaces).state if node in self.latest else state

    def screen(self, round_: int, start: State) -> Screen | None:
        """None: what a node sends reaches no other."""
        return None

    def aggregate(self, round_: int, previous: State, local: list[LocalAdapter]) -> State | None:
        """None: nothing is merged."""
        return None
