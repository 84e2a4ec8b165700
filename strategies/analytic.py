"""``aggregation=analytic``: a closed-form adapter from sums over the nodes' clips, in one round and without training.

Equal to ridge regression on all recordings in one place, whatever the split (:mod:`vegas_fl.algorithm.analytic`): the
baseline that other aggregations should reach.

What a node's sums reveal to the server: the Gram matrix of N clips spans their statistics, so that with few clips it
tells of any clip whether the node had it, and with one it is that clip; the class sums say how many clips of which
classes the node has. Only the total should be readable: use secure aggregation, or trust the server.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from flwr.app import Message, RecordDict

from strategies.base import AdapterStrategy
from strategies.local_adapters import LocalAdapter
from vegas_fl.algorithm.analytic import ClipSums, solve
from vegas_fl.config import AnalyticConfig
from vegas_fl.federation.checks import check_samples, check_sums
from vegas_fl.federation.messages import ClipCounts, SumClips
from vegas_fl.federation.wire import Reply
from vegas_fl.storage.tensorfiles import State


class Analytic(AdapterStrategy):
    """Nodes send sums, the server adds them and solves."""

    def configure(self, round_: int, state: State) -> dict[str, RecordDict]:
        """All nodes are asked the same."""
        content = SumClips(spaces=self.spaces).content(self.config)
        return dict.fromkeys(self.federation.nodes.values(), content)

    def send(self, round_: int, contents: dict[str, RecordDict]) -> Iterator[Message]:
        """The nodes' sums, as they come."""
        return self.federation.exchange(self.federation.messages(SumClips, contents), round_)

    def validate(
        self, round_: int, state: State, replies: Iterable[Message]
    ) -> tuple[list[LocalAdapter], dict[Path, str]]:
        """Add up the sums that can be used, as they come; who sent them, each with the total, and no files."""

        def check(node: str, reply: Reply[ClipCounts]) -> str | None:
            samples = {label: reply.values.samples.get(label, 0) for label in self.config.classes}
            return check_samples(reply.values, self.federation.described.get(node), self.config.nodes[node]) or (
                check_sums(reply.states.get("sums", {}), list(samples.values()), self.spaces.audio_width)
            )

        total: State = {}

        def keep(node: str, reply: Reply[ClipCounts]) -> LocalAdapter:
            total.update({name: total.get(name, 0) + part for name, part in reply.states["sums"].items()})
            return LocalAdapter(node, reply.values.samples, {}, held=total)

        saved = self.federation.accept(SumClips, replies, f"sums, round {round_}", check, keep)
        return list(saved.values()), {}

    def aggregate(self, round_: int, previous: State, local: list[LocalAdapter]) -> State:
        """The closed-form adapter of the total, which is the same in each of ``local``."""
        settings, total = self.config.aggregation, local[0].held
        assert isinstance(settings, AnalyticConfig) and total is not None
        adapter = self.build(previous)
        adapter.set_readout(solve(ClipSums(**total), settings.ridge), self.targets)
        return adapter.state_dict()

    def candidates(self, state: State, local: list[LocalAdapter]) -> Iterator[tuple[str, State]]:
        """The closed-form adapter only: nodes have none of their own."""
        yield self.name, state
