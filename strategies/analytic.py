"""``aggregation=analytic``: a closed-form adapter from sums over the nodes' clips, in one round and without training.

Equal to ridge regression on all recordings in one place, whatever the split (:mod:`vegas_fl.algorithm.analytic`): the
baseline that other aggregations should reach.

What a node's sums would reveal to the server: the Gram matrix of N clips spans their statistics, so that with few clips
it tells of any clip whether the node had it, and with one it is that clip; the class sums say how many clips of which
classes the node has. With ``secure_sum`` the server sees only those over all nodes
(:mod:`vegas_fl.federation.secure_sum`).
"""

import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from flwr.app import Message, RecordDict

from strategies.base import AdapterStrategy
from strategies.local_adapters import LocalAdapter
from vegas_fl.algorithm.analytic import ClipSums, solve
from vegas_fl.config import AnalyticConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.federation import secure_sum
from vegas_fl.federation.checks import check_samples, check_sums
from vegas_fl.federation.messages import ClipCounts, SumClips, SumKeys
from vegas_fl.federation.wire import Reply
from vegas_fl.storage.tensorfiles import State


class Analytic(AdapterStrategy):
    """Nodes send sums, the server adds them and solves."""

    def configure(self, round_: int, state: State) -> dict[str, RecordDict]:
        """All nodes are asked the same, for a secure sum with the keys of those that sent one."""
        nodes, name, keys = list(self.federation.nodes.values()), "", {}
        if self.settings.secure_sum:
            name = secrets.token_hex(16)
            asked = dict.fromkeys(nodes, SumKeys(sum=name).content(self.config))
            sent = self.federation.ask(SumKeys, asked, f"keys, round {round_}", lambda node, reply: None, round_)
            keys = {node: reply.values.key for node, reply in sent.items()}
        self.keys = keys
        return dict.fromkeys(keys or nodes, SumClips(spaces=self.spaces, sum=name, keys=keys).content(self.config))

    @property
    def settings(self) -> AnalyticConfig:
        """Of the aggregation."""
        assert isinstance(self.config.aggregation, AnalyticConfig)
        return self.config.aggregation

    def send(self, round_: int, contents: dict[str, RecordDict]) -> Iterator[Message]:
        """The nodes' sums, as they come."""
        return self.federation.exchange(self.federation.messages(SumClips, contents), round_)

    def validate(
        self, round_: int, state: State, replies: Iterable[Message]
    ) -> tuple[list[LocalAdapter], dict[Path, str]]:
        """Add up the sums that can be used, as they come; who sent them, each with the total, and no files."""

        def check(node: str, reply: Reply[ClipCounts]) -> str | None:
            samples = {label: reply.values.samples.get(label, 0) for label in self.config.classes}
            clips = None if self.keys else list(samples.values())
            return check_samples(reply.values, self.federation.described.get(node), self.config.nodes[node]) or (
                check_sums(reply.states.get("sums", {}), clips, self.spaces.audio_width, len(samples))
            )

        total: State = {}

        def keep(node: str, reply: Reply[ClipCounts]) -> LocalAdapter:
            sums = reply.states["sums"]
            plus = secure_sum.added if self.keys else plainly_added
            total.update(plus(total, sums) if total else sums)
            return LocalAdapter(node, reply.values.samples, {}, held=total)

        what = f"sums, round {round_}"
        saved = self.federation.accept(SumClips, replies, what, check, keep)
        if self.keys:
            total.update(self._total(what, total, list(saved.values())))
        return list(saved.values()), {}

    def _total(self, what: str, added: State, local: list[LocalAdapter]) -> State:
        """The sums over all nodes, whose masks cancel if none is missing."""
        if missing := sorted(set(self.keys) - {adapter.node for adapter in local}, key=int):
            raise VegasError(
                f"{what}: without those of nodes {', '.join(missing)} the masks of the others do not cancel; run the "
                "same command to ask again, or set aggregation.secure_sum=false"
            )
        sums = secure_sum.total(added)
        counts = [sum(adapter.samples.get(label, 0) for adapter in local) for label in self.config.classes]
        if problem := check_sums(sums, counts, self.spaces.audio_width, len(counts)):
            raise VegasError(f"{what}: the nodes together {problem}; set aggregation.secure_sum=false to see which")
        return sums

    def aggregate(self, round_: int, previous: State, local: list[LocalAdapter]) -> State:
        """The closed-form adapter of the total, which is the same in each of ``local``."""
        total = local[0].held
        assert total is not None
        adapter = self.build(previous)
        adapter.set_readout(solve(ClipSums(**total), self.settings.ridge), self.targets)
        return adapter.state_dict()

    def candidates(self, state: State, local: list[LocalAdapter]) -> Iterator[tuple[str, State]]:
        """The closed-form adapter only: nodes have none of their own."""
        yield self.name, state


def plainly_added(one: State, other: State) -> State:
    """The sum of two nodes' sums."""
    return {name: one[name] + other[name] for name in one}
