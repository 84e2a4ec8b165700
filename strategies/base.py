"""Rounds of local training and aggregation: what all strategies share.

A round reads: configure → send → validate → aggregate → save → evaluate. A strategy says how the nodes' adapters become
one (:meth:`AdapterStrategy.aggregate`), and may say what a node starts from (:meth:`AdapterStrategy.start_of`).
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from flwr.app import Message, RecordDict

from strategies.evaluation import evaluate
from strategies.local_adapters import LocalAdapter, LocalWriter, find_local
from strategies.trust import Screen, weighed
from vegas_fl.algorithm.adapter import Adapter, Conditioning
from vegas_fl.algorithm.distillation import average
from vegas_fl.config import Config
from vegas_fl.federation.checks import check_norm, check_samples
from vegas_fl.federation.messages import Header, TrainAdapter, TrainedAdapter
from vegas_fl.federation.nodes import Federation
from vegas_fl.federation.wire import Reply
from vegas_fl.runs.record import Record
from vegas_fl.storage.adapters import adapter_header, load_adapter, save_adapter
from vegas_fl.storage.generators import load_class_generator
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.names import find_adapters, find_generators
from vegas_fl.storage.tensorfiles import State, misfit

log = logging.getLogger("vegas_fl.server")


class AdapterStrategy(ABC):
    """Trains adapters on the nodes and merges them on the server, round by round.

    Parameters
    ----------
    federation : Federation
    record : Record
    spaces : Spaces
        What the adapters map between.
    targets : Conditioning
        Text targets of all K classes: clip [K, P], t5 [K, T, C].
    """

    def __init__(self, federation: Federation, record: Record, spaces: Spaces, targets: Conditioning) -> None:
        self.federation, self.record, self.spaces, self.targets = federation, record, spaces, targets
        self.config: Config = federation.config
        self.folder = Path(self.config.adapter.checkpoint_dir)
        self.header = adapter_header(spaces, self.config.adapter)
        self.latest: dict[str, LocalAdapter] = {}
        """Each node's own adapter of the last round it took part in."""

    @property
    def name(self) -> str:
        """The aggregation's name in the configuration."""
        return self.config.aggregation.name

    def run(self, initial: State) -> None:
        """All rounds that are not done yet, starting from ``initial`` or from the last round that is done."""
        state, done = self.resume(initial)
        log.info("adapters: %d rounds of %s over %d nodes", self.config.rounds, self.name, len(self.federation.nodes))
        for round_ in range(done + 1, self.config.rounds + 1):
            self.federation.muster()
            files: dict[Path, str] = {}
            if trained_before := self.config.adapter.local_checkpoint_dir:
                local = self.believed(round_, state, list(find_local(Path(trained_before), self.config).values()))
            else:
                replies = self.send(round_, self.configure(round_, state))
                local, files = self.validate(round_, state, replies)
            self.latest |= {adapter.node: replace(adapter, held=None) for adapter in local}
            local = self.weighed(local)
            merged = self.aggregate(round_, state, local)
            if merged is not None:
                state, files = merged, files | self.save(round_, merged, local)
            if self.evaluates(round_):
                content = {"targets": self.targets._asdict()}
                trainers = [adapter.node for adapter in local] if self.config.compares_local else []
                candidates = self.candidates(state, local)
                evaluate(self.federation, self.record, self.spaces, round_, content, candidates, trainers)
            self.record.done("adapters", files, round_)

    def resume(self, initial: State) -> tuple[State, int]:
        """The global adapter after the last round that is done, and the number of that round; ``initial`` and 0."""
        done = self.record.progress.rounds("adapters")
        if not done:
            return initial, 0
        self.latest = find_local(self.folder, self.config, done)
        if self.name == "standalone":
            return initial, done
        return load_adapter(find_adapters(self.folder, run=self.config.run)[done], self.spaces).state, done

    def start_of(self, node: str, state: State) -> State:
        """What a node trains from: the global adapter."""
        return state

    def configure(self, round_: int, state: State) -> dict[str, RecordDict]:
        """What each node is sent: an adapter to train, the text targets, and the generators of all classes if nodes
        replay them (``adapter.replay_samples``)."""
        shared: dict[str, State] = {"targets": self.targets._asdict()}
        headers: dict[str, Header] = {}
        if self.config.adapter.replay_samples:
            for label, path in find_generators(Path(self.config.generator.checkpoint_dir)).items():
                generator = load_class_generator(path, self.spaces.audio)
                headers[label] = generator.header
                for owner, sampler in generator.samplers.items():
                    shared[f"generator.{label}.{owner}"] = sampler.state_dict()
        request = TrainAdapter(spaces=self.spaces, round=round_, generators=headers)
        starts = {node: self.start_of(node, state) for node in self.federation.nodes.values()}
        contents: dict[int, RecordDict] = {}  # one for all nodes that start from the same adapter
        for start in starts.values():
            if id(start) not in contents:
                contents[id(start)] = request.content(self.config, {"adapter": start, **shared})
        return {node: contents[id(start)] for node, start in starts.items()}

    def send(self, round_: int, contents: dict[str, RecordDict]) -> Iterator[Message]:
        """The nodes' replies, as they come."""
        return self.federation.exchange(self.federation.messages(TrainAdapter, contents), round_)

    def validate(
        self, round_: int, state: State, replies: Iterable[Message]
    ) -> tuple[list[LocalAdapter], dict[Path, str]]:
        """The nodes' adapters, trained from ``state``, that can be used; each is saved as it comes. And the files
        written, with their hashes."""

        screen = self.screen(round_, state)

        def check(node: str, reply: Reply[TrainedAdapter]) -> str | None:
            adapter, clips = reply.states.get("adapter", {}), reply.values.samples
            if problem := check_samples(reply.values, self.federation.described.get(node), self.config.nodes[node]):
                return problem
            if problem := misfit(adapter, state) or check_norm(adapter, state, self.config.federation.max_norm):
                return f"returned an unusable adapter: {problem}"
            if screen and (problem := screen.problem(clips, adapter) or screen.too_far(node, clips, adapter)):
                return f"returned an unusable adapter: {problem}"
            return None

        with LocalWriter(self.folder, self.config.run, round_, self.header) as writer:

            def keep(node: str, reply: Reply[TrainedAdapter]) -> tuple[LocalAdapter, TrainedAdapter]:
                return writer.keep(node, reply.values.samples, reply.states["adapter"]), reply.values

            saved = self.federation.accept(TrainAdapter, replies, f"adapters, round {round_}", check, keep)
        if screen and (odd := screen.odd()):
            for path in [path for node in odd for path in saved.pop(node)[0].paths.values()]:
                del writer.files[path]
                path.unlink()
            self.federation.drop(odd, f"adapters, round {round_}", saved)
        about = {"stage": "adapters", "round": round_}
        self.record.add_all(
            [
                {
                    **about,
                    "node": local.node,
                    "samples": local.samples,
                    "training": values.metrics,
                    "worked": values.worked,
                }
                for local, values in saved.values()
            ]
        )
        return [local for local, _ in saved.values()], writer.files

    def screen(self, round_: int, start: State) -> Screen | None:
        """What judges the adapters of a round; None where nothing is merged."""
        return Screen(self.config, self.spaces, self.targets, start, round_)

    def believed(self, round_: int, start: State, local: list[LocalAdapter]) -> list[LocalAdapter]:
        """The adapters of an earlier run that can be used."""
        kept = []
        for adapter in local:
            screen = self.screen(round_, start)
            problem = screen and screen.problem(adapter.samples, adapter.state(self.spaces))
            if problem:
                log.warning("the adapter of node %s is not used: %s", adapter.node, problem)
                self.record.add(
                    stage="dropped", message=TrainAdapter.kind, round=round_, node=adapter.node, reason=problem
                )
            else:
                kept.append(adapter)
        return kept

    def weighed(self, local: list[LocalAdapter]) -> list[LocalAdapter]:
        """The adapters, with the clips of each class by which they count among the class's owners."""
        samples: dict[str, dict[str, int]] = {adapter.node: {} for adapter in local}
        for label in self.config.classes:
            claims = {adapter.node: adapter.samples[label] for adapter in local if label in adapter.samples}
            for node, count in weighed(claims, self.config, f"training clips of {label}").items():
                samples[node][label] = count
        return [replace(adapter, samples=samples[adapter.node]) for adapter in local]

    @abstractmethod
    def aggregate(self, round_: int, previous: State, local: list[LocalAdapter]) -> State | None:
        """The global adapter of a round, or None if there is none.

        Parameters
        ----------
        round_ : int
            From 1.
        previous : dict
            State of the global adapter before the round.
        local : list of LocalAdapter
            The nodes' adapters, trained from ``previous``.
        """

    def save(self, round_: int, state: State, local: list[LocalAdapter]) -> dict[Path, str]:
        """Write the global adapter; the files with their hashes."""
        samples: dict[str, int] = {}
        for label, count in (item for adapter in local for item in adapter.samples.items()):
            samples[label] = samples.get(label, 0) + count
        header = {**self.header, "samples": samples, "aggregation": self.name}
        return save_adapter(self.folder, self.config.run, round_, state, header)

    def evaluates(self, round_: int) -> bool:
        """Whether adapters are evaluated after a round."""
        settings = self.config.evaluation
        return settings.split != "none" and (round_ == self.config.rounds or round_ % settings.every == 0)

    def candidates(self, state: State, local: list[LocalAdapter]) -> Iterator[tuple[str, State]]:
        """The adapters that are evaluated side by side, by name; one is made at a time."""
        settings = self.config.evaluation
        if self.config.compares_local:
            for adapter in local:
                yield f"local {adapter.node}", adapter.state(self.spaces)
        if "fedavg" in settings.compare and self.name != "fedavg":
            yield "fedavg", self.average(local)
        if self.name != "standalone":
            yield self.name, state

    def average(self, local: list[LocalAdapter], weighted: bool = True) -> State:
        """The nodes' mean adapter, weighted by their numbers of clips; one is in memory at a time."""
        clips = weighed({adapter.node: adapter.clips for adapter in local}, self.config, "training clips")
        states = (adapter.state(self.spaces) for adapter in local)
        return average(states, [clips[adapter.node] if weighted else 1 for adapter in local])

    def build(self, state: State) -> Adapter:
        """An adapter with the weights ``state``."""
        adapter = Adapter(self.spaces.shape, self.config.adapter)
        adapter.load_state_dict(state)
        return adapter
