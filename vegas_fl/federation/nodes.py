"""Which nodes take part in a run: those that are there at its start, that leave, that come back."""

import logging
import time
from collections.abc import Callable, Mapping

from flwr.serverapp import Grid

from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError
from vegas_fl.federation.checks import LONGEST, check_description
from vegas_fl.federation.exchange import Exchange
from vegas_fl.federation.messages import Describe, Description
from vegas_fl.federation.wire import Missing, Refused

log = logging.getLogger("vegas_fl.server")

POLL = 0.2
"""Seconds between two looks at who is registered."""
OTHER_AUDIO = "embeds audio differently from the others; give all nodes the same encoder weights"


def odd_audio(found: Mapping[int, Description]) -> list[int]:
    """The nodes (by Flower's id) whose audio embeddings are not those of most; in a tie, not those of the first."""
    spaces = [description.audio for description in found.values() if description.audio]
    most = max(spaces, key=spaces.count, default=None)
    return [id_ for id_, description in found.items() if description.audio != most]


class Federation(Exchange):
    """The nodes of a run, by their index in the configuration.

    Parameters
    ----------
    grid : Grid
        Flower's way to the nodes.
    config : Config
    """

    def __init__(self, grid: Grid, config: Config) -> None:
        super().__init__(grid, config)
        self.described: dict[str, Description] = {}
        """What each node said it holds."""
        self.on_join: Callable[[Description], object] = lambda description: None
        """Called when a node joins a run that has started."""
        self._refused: set[int] = set()
        self._strange = 0
        """How many of them sent a description that cannot be used."""

    def gather(self) -> dict[str, Description]:
        """Wait for the configured nodes, and ask each what it holds. One that cannot take part, or embeds audio
        differently from most, is left out.

        Raises
        ------
        VegasError
            Too few (:meth:`needed`) came within ``federation.wait`` or can take part; it lists every reason.
        """
        count = len(self.config.nodes)
        deadline = time.monotonic() + self.config.federation.wait
        while len(present := sorted(self.grid.get_node_ids())) < count:
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL)
        if len(present) < self.needed(count, 0):
            raise VegasError(
                f"{len(present)} of {count} nodes registered within {self.config.federation.wait:g} s, expected at "
                f"least {self.needed(count, 0)}; start the others, or raise federation.wait"
            )
        found, refused, lost = self._describe(present)
        for id_ in odd_audio(found):
            refused[id_] = f"node {found.pop(id_).node} {OTHER_AUDIO}"
        reasons = sorted({*refused.values(), *lost})
        self._strange = sum(reason not in lost for reason in refused.values())
        if len(found) < self.needed(count, self._strange):
            raise VegasError("The run cannot start; nothing was trained.\n" + "\n".join(f"- {p}" for p in reasons))
        for reason in reasons:
            log.warning("starting without a node: %s", reason)
        self._refused |= set(refused)
        self._join(found)
        if absent := [node for node in self.config.nodes if node not in self.described]:
            log.warning("starting without nodes %s, which have not registered", ", ".join(absent))
        return dict(self.described)

    def muster(self) -> None:
        """Before a stage or round: admit nodes that came back or came late, leave out those that are gone, and below
        the quorum wait.

        Raises
        ------
        VegasError
            Too few (:meth:`needed`) are there after ``federation.wait``.
        """
        total = len(self.config.nodes)
        deadline = time.monotonic() + self.config.federation.wait
        waiting = False
        while len(present := self._admit()) < (needed := self.needed(total, self._unneeded(present))):
            count = f"{len(present)} of {total} nodes are connected"
            if time.monotonic() >= deadline:
                raise VegasError(
                    f"{count}, expected at least {needed} (federation.min_nodes); start the others and "
                    "run the same command to continue"
                )
            if not waiting:
                log.warning("%s, expected at least %d; waiting", count, needed)
            waiting = True
            time.sleep(POLL)
        if gone := [self.nodes.pop(id_) for id_ in list(self.nodes) if id_ not in present]:
            log.warning("continuing without nodes %s, which have disconnected", ", ".join(gone))

    def _unneeded(self, present: set[int]) -> int:
        """How many nodes are not there whose descriptions or replies could not be used."""
        return self._strange + len(self.rejected - {self.nodes[id_] for id_ in present})

    def _admit(self) -> set[int]:
        """Let newcomers join; Flower's ids of the nodes that take part and are registered now."""
        registered = set(self.grid.get_node_ids())
        newcomers = sorted(registered - set(self.nodes) - self._refused)
        if newcomers:
            found, refused, lost = self._describe(newcomers)
            present = {node for id_, node in self.nodes.items() if id_ in registered}
            for id_, description in list(found.items()):
                if description.node in present:
                    lost.append(f"node {description.node} is connected already; give each SuperNode its own number")
                    del found[id_]
                elif not self._same_audio(description):
                    refused[id_] = f"node {description.node} {OTHER_AUDIO}"
                    del found[id_]
            self._strange += sum(reason not in lost for reason in refused.values())
            for reason in dict.fromkeys([*refused.values(), *lost]):
                log.warning("a node that joined late cannot take part: %s", reason)
            self._refused |= set(refused)
            self._join(found)
            for description in found.values():
                log.info("node %s takes part again", description.node)
                self.on_join(description)
        return registered & set(self.nodes)

    def _same_audio(self, newcomer: Description) -> bool:
        """Whether its audio embeddings are those of the nodes that are there."""
        known = [other.audio for other in self.described.values() if other.audio]
        return not known or newcomer.audio == known[0]

    def _describe(self, ids: list[int]) -> tuple[dict[int, Description], dict[int, str], list[str]]:
        """What nodes hold, why some cannot take part (both by Flower's id), and why others did not reply."""
        messages = self._messages(Describe, dict.fromkeys(ids, Describe().content(self.config)))
        found: dict[int, Description] = {}
        refused: dict[int, str] = {}
        lost: list[str] = []
        silent = len(ids)
        for message in self.exchange(messages):
            silent -= 1
            try:
                description = self.valid(Describe, message).values
                problem = check_description(description, self.config)
            except Refused as error:
                if message.has_error():
                    lost.append(f"a node {error}")
                    continue
                problem = str(error)
                if isinstance(error, Missing):
                    lost.append(problem)
            else:
                if not problem and description.node in (other.node for other in found.values()):
                    problem = f"two nodes have partition-id {description.node}; give each SuperNode its own"
            if problem:
                refused[message.metadata.src_node_id] = problem[:LONGEST]
            else:
                found[message.metadata.src_node_id] = description
        if silent > 0:
            lost.append(f"{silent} nodes did not reply")
        return found, refused, lost

    def _join(self, found: Mapping[int, Description]) -> None:
        """Let nodes take part; one that was there under another id of Flower's is there no longer under that."""
        described = self.described | {description.node: description for description in found.values()}
        self.described = {node: described[node] for node in sorted(described, key=int)}
        ids = {node: id_ for id_, node in self.nodes.items()} | {d.node: id_ for id_, d in found.items()}
        self.nodes = {ids[node]: node for node in sorted(ids, key=int)}
        self._write([])
