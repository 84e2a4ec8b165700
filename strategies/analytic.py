"""``aggregation=analytic``: a closed-form adapter from sums over the nodes' clips, in one round and without training.

Equal to ridge regression on all recordings in one place, whatever the split (:mod:`vegas_fl.algorithm.analytic`): the
baseline that other aggregations should reach. The server sees each node's sums, and they reveal the node's clips: see
there.
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
        """Add up the sums that can be used, as they come; who sent them, and no files."""

        def check(node: str, reply: Reply[ClipCounts]) -> str | None:
            samples = {label: reply.values.samples.get(label, 0) for label in self.config.classes}
            return check_samples(reply.values, self.federation.described.get(node), self.config.nodes[node]) or (
                check_sums(reply.states.get("sums", {}), list(samples.values()), self.spaces.audio_width)
            )

        self.sums: ClipSums | None = None

        def keep(node: str, reply: Reply[ClipCounts]) -> LocalAdapter:
            sums = ClipSums(**reply.states["sums"])
            self.sums = sums if self.sums is None else self.sums + sums
            return LocalAdapter(node, reply.values.samples, {})

        saved = self.federation.accept(SumClips, replies, f"sums, round {round_}", check, keep)
        return list(saved.values()), {}

    def aggregate(self, round_: int, previous: State, local: list[LocalAdapter]) -> State:
        """The closed-form adapter."""
        settings = self.config.aggregation
        assert isinstance(settings, AnalyticConfig) and self.sums is not None
        adapter = self.build(previous)
        adapter.set_readout(solve(self.sums, settings.ridge), self.targets)
        return adapter.state_dict()

    def candidates(self, state: State, local: list[LocalAdapter]) -> Iterator[tuple[str, State]]:
        """The closed-form adapter only: nodes have none of their own."""
        yield self.name, state
