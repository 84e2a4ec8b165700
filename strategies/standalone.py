"""``aggregation=standalone``: every node keeps its own adapter; nothing is merged."""

from __future__ import annotations

from strategies.base import AdapterStrategy, LocalAdapter
from vegas_fl.tensorfiles import State


class Standalone(AdapterStrategy):
    """No global adapter; each round's local training starts from the common initial one."""

    def aggregate(self, round_: int, previous: State, local: list[LocalAdapter]) -> State | None:
        """None."""
        return None
