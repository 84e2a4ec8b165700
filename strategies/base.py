"""What all aggregations share: a Flower strategy that sends, validates, saves and evaluates adapters."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from strategies.local_adapters import LocalAdapter, LocalWriter, find_local
from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.adapter import Adapter, Conditioning
from vegas_fl.algorithm.distillation import average
from vegas_fl.config import Config
from vegas_fl.federation.checks import absurd, odd_counts, odd_evaluation, odd_training
from vegas_fl.federation.exchange import Reply
from vegas_fl.federation.messages import EVALUATE, TRAIN_ADAPTER
from vegas_fl.federation.nodes import Federation, whole
from vegas_fl.runs.record import Record
from vegas_fl.storage.adapters import adapter_header, load_adapter, save_adapter
from vegas_fl.storage.generators import load_class_generator
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.names import find_adapters, find_generators
from vegas_fl.storage.tensorfiles import State, misfit

log = logging.getLogger("vegas_fl.server")

EVALUATION_BYTES = 128 * 10**6
"""Size of the adapters in one message to be evaluated (but one at least): neither server nor nodes shall have to hold
all that are compared (``evaluation.local_nodes``)."""


class AdapterStrategy(Strategy):
    """Rounds of local training and aggregation of adapters.

    A round: :meth:`configure_train` sends the global adapter, :meth:`aggregate_train` validates the replies,
    saves each node's adapter, lets :meth:`aggregate` make the global one and saves it;
    :meth:`configure_evaluate` sends both to be judged.

    Parameters
    ----------
    federation : Federation
    record : Record
    spaces : Spaces
        What the adapters map between.
    targets : Conditioning
        Text targets of all classes.
    """

    def __init__(self, federation: Federation, record: Record, spaces: Spaces, targets: Conditioning) -> None:
        self.federation, self.record, self.spaces, self.targets = federation, record, spaces, targets
        self.config: Config = federation.config
        self.folder = Path(self.config.adapter.checkpoint_dir)
        self.header = adapter_header(spaces, self.config.adapter)
        self.previous: State = {}
        self._files: dict[Path, str] = {}
        """The checkpoints of this round, with their hashes."""
        self.locals: list[LocalAdapter] = []
        """The nodes' adapters of this round."""
        self.latest: dict[str, LocalAdapter] = {}
        """Each node's own adapter of the last round it took part in."""
        self._unsent: Iterator[RecordDict] = iter(())

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

    def run(self, initial: State) -> None:
        """All rounds that are not done yet, from ``initial`` or from the last that is: what :meth:`Strategy.start`
        does, with replies dealt with as they come."""
        arrays, grid = ArrayRecord(dict(initial)), self.federation.grid
        self.summary()
        if done := self.record.progress.rounds("adapters"):
            self.latest = find_local(self.folder, self.config, done)
            if self.name != "standalone":
                arrays = ArrayRecord(load_adapter(find_adapters(self.folder)[done], self.spaces).state)
        for round_ in range(done + 1, self.config.rounds + 1):
            self.federation.muster()
            messages = self.configure_train(round_, arrays, ConfigRecord(), grid)
            merged, _ = self.aggregate_train(round_, self.federation.exchange(messages, round_))
            arrays = merged or arrays
            messages = self.configure_evaluate(round_, arrays, ConfigRecord(), grid)
            self.aggregate_evaluate(round_, self.federation.exchange(messages, round_))
            self.record.done("adapters", self._files, round_)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the global adapter and the text targets to every node."""
        self.previous = arrays.to_torch_state_dict()
        if self.config.adapter.local_checkpoint_dir:
            return []
        return self.train_messages(dict.fromkeys(self.federation.nodes.values(), self.previous), server_round)

    def train_messages(self, states: Mapping[str, State], round_: int) -> Iterable[Message]:
        """Messages that let each node train from its state; with the generators of all classes, if it replays them."""
        shared: dict[str, State] = {}
        headers: dict[str, dict[str, Any]] = {}
        if self.config.adapter.replay_samples:
            for label, path in find_generators(Path(self.config.generator.checkpoint_dir)).items():
                generator = load_class_generator(path, self.spaces.audio)
                headers[label] = generator.header
                for owner, sampler in generator.samplers.items():
                    shared[f"generator.{label}.{owner}"] = sampler.state_dict()
        made: dict[int, RecordDict] = {}  # one content for all nodes that get the same
        for state in states.values():
            if id(state) not in made:
                made[id(state)] = self.content({"adapter": state, **shared}, round=round_, generators=headers)
        contents = {node: made[id(state)] for node, state in states.items()}
        return self.federation.messages(TRAIN_ADAPTER, contents)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Validate, save, aggregate, save."""
        self._files = {}
        if self.config.adapter.local_checkpoint_dir:
            self.locals = list(find_local(Path(self.config.adapter.local_checkpoint_dir), self.config).values())
        else:
            self.locals = self._save_local(server_round, replies)
        self.latest |= {local.node: replace(local, held=None) for local in self.locals}
        state = self.aggregate(server_round, self.previous, self.locals)
        if state is None:
            return None, None
        header = {**self.header, "samples": self._samples()}
        self._files |= save_adapter(self.folder, self.config.run, server_round, state, header)
        return ArrayRecord(dict(state)), None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the global adapter and what it is compared with to every node: as many as fit into one message."""
        if not self._evaluates(server_round):
            return []
        self._unsent = self._evaluations(arrays)
        return self.federation.messages(EVALUATE, self._to_all(next(self._unsent)))

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Send the rest, and add up the nodes' counts and sums."""
        if not self._evaluates(server_round):
            return None
        what = f"evaluation, round {server_round}"
        answers = list(self.federation.accept(replies, what, self._odd_figures, whole).values())
        for content in self._unsent:
            answers += self.federation.ask(
                EVALUATE, self._to_all(content), what, self._odd_figures, server_round
            ).values()
        totals: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
        for answer in answers:
            for name, branches in answer.values["figures"].items():
                for branch, sums in branches.items():
                    total = totals.setdefault((name, branch), {})
                    for figure, value in sums.items():
                        total[figure] = total.get(figure, 0) + torch.tensor(value, dtype=torch.float64)
        results: dict[str, dict[str, float]] = {}
        for (name, branch), total in totals.items():
            counts = total["confusion"].long()
            figures = metrics.summary(counts, self.config.classes)
            self.record.add(
                stage="evaluation",
                round=server_round,
                adapter=name,
                branch=branch,
                **figures,
                cosine=(total["cosine"] / counts.sum()).item(),
                mse=(total["mse"] / counts.sum()).item(),
                classes=self.config.classes,
                confusion=counts.tolist(),
            )
            results.setdefault(name, {})[branch] = figures["accuracy"]
        figures_ = ", ".join(f"{name} {row['clip']:.3f}/{row['t5']:.3f}" for name, row in results.items())
        log.info("round %d, accuracy on unseen clips (clip/t5): %s", server_round, figures_)
        self.record.page()
        return MetricRecord({f"{n}.{b}.accuracy": v for n, row in results.items() for b, v in row.items()})

    def summary(self) -> None:
        """Log what is about to happen."""
        log.info(
            "adapters: %d rounds of %s over %d nodes",
            self.config.rounds,
            self.name,
            len(self.federation.nodes),
        )

    @property
    def name(self) -> str:
        """The aggregation's name in the configuration."""
        return self.config.aggregation.name

    def average(self, local: list[LocalAdapter], weighted: bool = True) -> State:
        """The nodes' mean adapter, weighted by their numbers of clips; one is held at a time."""
        states = (adapter.state(self.spaces) for adapter in local)
        return average(states, [adapter.clips if weighted else 1 for adapter in local])

    def build(self, state: State) -> Adapter:
        """An adapter with ``state``."""
        adapter = Adapter(self.spaces.shape, self.config.adapter)
        adapter.load_state_dict(state)
        return adapter

    def content(self, states: dict[str, State], **values: object) -> RecordDict:
        """Content of a message: ``states``, the text targets, the spaces and ``values``."""
        targets = {"targets": self.targets._asdict()}
        return self.federation.content({**states, **targets}, spaces=asdict(self.spaces), **values)

    def _evaluates(self, round_: int) -> bool:
        """Whether adapters are evaluated after a round."""
        settings = self.config.evaluation
        return settings.split != "none" and (round_ == self.config.rounds or round_ % settings.every == 0)

    def _save_local(self, round_: int, replies: Iterable[Message]) -> list[LocalAdapter]:
        with LocalWriter(self.folder, self.config.run, round_, self.header) as writer:

            def keep(node: str, reply: Reply) -> tuple[LocalAdapter, dict[str, Any]]:
                return writer.keep(node, reply.values["samples"], reply.states["adapter"]), reply.values

            saved = self.federation.accept(replies, f"adapters, round {round_}", self._problem, keep)
        self._files |= writer.files
        self.record.add_all(
            [
                {
                    "stage": "adapters",
                    "round": round_,
                    "node": local.node,
                    "samples": local.samples,
                    "training": values["metrics"],
                    "worked": values.get("worked"),
                }
                for local, values in saved.values()
            ]
        )
        return [local for local, _ in saved.values()]

    def _problem(self, node: str, reply: Reply) -> str | None:
        """Why an adapter cannot be used."""
        if problem := odd_counts(reply.values, self.federation.described(node), self.config.nodes[node]):
            return problem
        state = reply.states.get("adapter", {})
        if problem := misfit(state, self.previous) or absurd(state, self.previous, self.config.federation.max_norm):
            return f"its adapter cannot be used: {problem}"
        return odd_training(reply.values["metrics"])

    def _odd_figures(self, node: str, reply: Reply) -> str | None:
        """Why an evaluation cannot be used."""
        clips = self.federation.described(node).get(self.config.evaluation.split, {})
        held = {index: clips.get(label, 0) for index, label in enumerate(self.config.classes)}
        candidates = {"local": len(self.locals), "fedavg": 1, self.name: 1}
        return odd_evaluation(reply.values["figures"], candidates, held)

    def _to_all(self, content: RecordDict) -> dict[str, RecordDict]:
        return dict.fromkeys(self.federation.nodes.values(), content)

    def _evaluations(self, arrays: ArrayRecord) -> Iterator[RecordDict]:
        """Contents with all candidates, each of a bounded size, made when they are needed."""
        batch: dict[str, State] = {}
        for name, state in self._candidates(arrays):
            size = sum(tensor.nbytes for one in (*batch.values(), state) for tensor in one.values())
            if batch and size > EVALUATION_BYTES:
                yield self.content(batch)
                batch = {}
            batch[f"candidate.{name}"] = state
        yield self.content(batch)

    def _candidates(self, arrays: ArrayRecord) -> Iterator[tuple[str, State]]:
        compare = self.config.evaluation.compare
        if "local" in compare or self.name == "standalone":
            for local in self.locals[: self.config.evaluation.local_nodes]:
                yield f"local {local.node}", local.state(self.spaces)
        if "fedavg" in compare and self.name != "fedavg":
            yield "fedavg", self.average(self.locals)
        if self.name != "standalone":
            yield self.name, arrays.to_torch_state_dict()

    def _samples(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for local in self.locals:
            for label, count in local.samples.items():
                total[label] = total.get(label, 0) + count
        return total
