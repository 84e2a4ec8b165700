"""The nodes of a run: waits for them, sends, and lets through only replies that can be used."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError
from vegas_fl.federation.checks import LONGEST, odd_description
from vegas_fl.federation.exchange import Exchange, Reply
from vegas_fl.federation.messages import DESCRIBE, pack, unpack
from vegas_fl.runs.record import Record
from vegas_fl.storage.tensorfiles import State

log = logging.getLogger("vegas_fl.server")


Check = Callable[[str, Reply], str | None]
"""Node and reply → what is wrong with it, or None."""
T = TypeVar("T")
Keep: TypeAlias = Callable[[str, Reply], T]
"""Node and usable reply → what stays of it."""
Follow = Callable[[str, Reply], RecordDict | None]
"""Node and reply → what it is sent next, or None if it is done."""

FIRST_PAUSE, LAST_PAUSE = 0.05, 2.0
"""Seconds between two looks for answers: few while they keep coming, more when none does."""


def whole(node: str, reply: Reply) -> Reply:
    """Keep all of a reply."""
    return reply


class Federation:
    """The nodes of a run, by their index in the configuration.

    Parameters
    ----------
    grid : Grid
        Flower's way to the nodes.
    config : Config
    """

    def __init__(self, grid: Grid, config: Config) -> None:
        self.grid, self.config = grid, config
        self.nodes: dict[int, str] = {}
        """Flower's id → index, of the nodes that are there."""
        self.on_join: Callable[[str, Reply], object] = lambda node, reply: None
        """Called when a node joins a run that goes on."""
        self._described: dict[str, Reply] = {}
        self._refused: set[int] = set()
        self._exchange = Exchange("", None)
        self._record: Record | None = None
        self._unrecorded: list[dict[str, Any]] = []
        """Lines about nodes whose index is not known yet, or from before the run has a folder."""

    def record(self, record: Record) -> None:
        """From now on, and of what was sent before, record what went to and fro, and which replies were dropped."""
        self._record = record
        self._write([])

    def gather(self) -> dict[str, Reply]:
        """Wait for the configured nodes, and ask each what it holds.

        Raises
        ------
        VegasError
            Fewer than ``federation.min_nodes`` came within ``federation.wait``, two have the same partition-id, or a
            node cannot take part; every reason is told.
        """
        present = self._wait_for(len(self.config.nodes), lambda: sorted(self.grid.get_node_ids()))
        if len(present) < self.config.min_nodes:
            raise VegasError(
                f"{len(present)} of {len(self.config.nodes)} nodes registered within {self.config.federation.wait:g} "
                f"s, {self.config.min_nodes} are needed; start the others, or raise federation.wait"
            )
        found, problems, lost = self._describe(present)
        reasons = {*problems.values(), *(lost if len(found) < self.config.min_nodes else ())}
        if reasons:
            raise VegasError(
                "The run cannot start; nothing was trained.\n" + "\n".join(f"- {p}" for p in sorted(reasons))
            )
        self._join(found)
        if absent := [node for node in self.config.nodes if node not in self._described]:
            log.warning("nodes %s are not there; the run starts without them", ", ".join(absent))
        return dict(self._described)

    def muster(self) -> None:
        """Before something is sent: let nodes that came back, or came late, take part again, and leave out those
        that are not there; below the quorum, wait for them.

        Raises
        ------
        VegasError
            Fewer than ``federation.min_nodes`` are there after ``federation.wait``.
        """

        def known() -> list[int]:
            present = set(self.grid.get_node_ids())
            if strange := sorted(present - set(self.nodes) - self._refused):
                found, problems, lost = self._describe(strange)
                there = {node for id_, node in self.nodes.items() if id_ in present}
                for id_ in [id_ for id_, reply in found.items() if reply.values["node"] in there]:
                    lost.append(f"there is a node {found.pop(id_).values['node']} already; give each SuperNode its own")
                for id_ in [id_ for id_, reply in found.items() if self._hears_otherwise(reply)]:
                    problems[id_] = f"node {found.pop(id_).values['node']} embeds audio otherwise than the others"
                for problem in [*problems.values(), *lost]:
                    log.warning("a node that joined late cannot take part: %s", problem)
                self._refused |= set(problems)
                self._join(found)
                for id_, reply in found.items():
                    log.info("node %s takes part again", self.nodes[id_])
                    self.on_join(self.nodes[id_], reply)
            return [id_ for id_ in self.nodes if id_ in present]

        present = known()
        if len(present) < self.config.min_nodes:
            log.warning("%d nodes are there, %d are needed; waiting", len(present), self.config.min_nodes)
            present = self._wait_for(self.config.min_nodes, known)
        if len(present) < self.config.min_nodes:
            raise VegasError(
                f"{len(present)} of {len(self.config.nodes)} nodes are there, {self.config.min_nodes} are needed "
                "(federation.min_nodes); start the others again, then the same command: it goes on from here"
            )
        if gone := [self.nodes.pop(id_) for id_ in list(self.nodes) if id_ not in present]:
            log.warning("nodes %s are gone; going on without them", ", ".join(gone))

    def described(self, node: str) -> dict[str, Any]:
        """What a node said it holds."""
        return self._described[node].values if node in self._described else {}

    def _wait_for(self, wanted: int, look: Callable[[], list[int]]) -> list[int]:
        """What ``look`` sees as soon as that is ``wanted`` nodes, or after ``federation.wait``."""
        end = time.monotonic() + self.config.federation.wait
        while len(present := look()) < wanted and time.monotonic() < end:
            time.sleep(0.2)
        return present

    def _hears_otherwise(self, reply: Reply) -> bool:
        """Whether a node's audio embeddings are not those of the nodes that are there."""
        known = [other.values["audio"] for other in self._described.values() if "audio" in other.values]
        return bool(known) and reply.values.get("audio") != known[0]

    def _describe(self, ids: list[int]) -> tuple[dict[int, Reply], dict[int, str], list[str]]:
        """What nodes hold, and what is wrong with them, by Flower's id; and why others gave no answer."""
        replies = list(self.exchange(self._messages(DESCRIBE, dict.fromkeys(ids, self.content()))))
        found: dict[int, Reply] = {}
        problems: dict[int, str] = {}
        lost = [f"{silent} nodes did not answer"] if (silent := len(ids) - len(replies)) > 0 else []
        for message in replies:
            if message.has_error():
                lost.append(f"a node: {self._failure(message)}")
                continue
            id_ = message.metadata.src_node_id
            try:
                reply = Reply(*unpack(message.content))
                if problem := reply.values.get("problem"):
                    problems[id_] = str(problem)[:LONGEST]
                elif problem := odd_description(reply.values, self.config):
                    problems[id_] = f"a node's answer cannot be used: {problem[:LONGEST]}"
                elif (node := reply.values["node"]) in (other.values["node"] for other in found.values()):
                    problems[id_] = f"two nodes have partition-id {node}; give each SuperNode its own"
                else:
                    found[id_] = reply
            except Exception as error:  # whatever a broken node can put into a message
                problems[id_] = f"a node's answer cannot be read ({type(error).__name__}: {error})"
        return found, problems, lost

    def _join(self, found: Mapping[int, Reply]) -> None:
        """Let nodes take part; one that was there under another id of Flower's has that no longer."""
        described = self._described | {reply.values["node"]: reply for reply in found.values()}
        self._described = {node: described[node] for node in sorted(described, key=int)}
        ids = {node: id_ for id_, node in self.nodes.items()} | {r.values["node"]: id_ for id_, r in found.items()}
        self.nodes = {ids[node]: node for node in sorted(ids, key=int)}
        self._write([])

    def content(self, states: Mapping[str, State] | None = None, **values: Any) -> RecordDict:
        """Content of a message: the resolved configuration, ``values`` and ``states``."""
        return pack({"config": self.config.model_dump(mode="json"), **values}, states)

    def messages(self, message_type: str, contents: Mapping[str, RecordDict]) -> list[Message]:
        """A message for each node in ``contents`` that is there."""
        ids = {node: id_ for id_, node in self.nodes.items()}
        log.debug("sending %s to nodes %s", message_type, ", ".join(contents))
        return self._messages(message_type, {ids[node]: contents[node] for node in contents if node in ids})

    def _messages(self, message_type: str, contents: Mapping[int, RecordDict]) -> list[Message]:
        """A message to each of Flower's ids."""
        ttl = self.config.federation.timeout
        return [
            Message(content, dst_node_id=id_, message_type=message_type, group_id=message_type, ttl=ttl)
            for id_, content in contents.items()
        ]

    def exchange(
        self, messages: Iterable[Message], round_: int | None = None, idle: Callable[[], object] = lambda: None
    ) -> Iterator[Message]:
        """Send, and yield each answer when it comes, until all are there or ``federation.timeout`` has passed.

        What is yielded may be dropped before the next one comes: memory need not grow with the nodes. To a deque,
        further messages may be added meanwhile. ``round_`` is for the record; ``idle`` is called between two looks
        for answers.
        """
        queue, pause = messages if isinstance(messages, deque) else deque(messages), FIRST_PAUSE
        exchange = self._exchange = Exchange(queue[0].metadata.message_type if queue else "", round_)
        waiting: set[str] = set()
        while queue or (waiting and exchange.seconds < self.config.federation.timeout):
            if queue:
                message = queue.popleft()
                id_ = next(iter(self.grid.push_messages([message])), None)
                exchange.sent(message, id_)
                waiting |= {id_} if id_ else set()
            else:
                idle()
                time.sleep(pause)
                pause = min(1.5 * pause, LAST_PAUSE)
            for reply in self.grid.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                pause = FIRST_PAUSE
                exchange.received(reply)
                yield reply
        self._write(exchange.lines())

    def accept(self, replies: Iterable[Message], what: str, check: Check, keep: Keep[T]) -> dict[str, T]:
        """What is kept of the usable replies of an :meth:`exchange`, by node, in the order of the nodes.

        A reply is dropped, with node and reason in log and metrics, if it is an error, a problem, a second one, or
        fails ``check``. Each is dealt with when it comes; only what ``keep`` makes of it stays.

        Raises
        ------
        VegasError
            Fewer are left than ``federation.min_nodes``; every reason is told.
        """
        accepted: dict[str, T] = {}
        dropped: dict[str, str] = {}
        for message in replies:
            node = self._node(message)
            if node is None or node in accepted or node in dropped:
                log.warning("%s: a second answer of node %s was ignored", what, node)
                continue
            if message.has_error():
                dropped[node] = self._failure(message)
                continue
            try:
                reply = Reply(*unpack(message.content))
                problem = str(reply.values.get("problem") or check(node, reply) or "")[:LONGEST]
            except Exception as error:  # whatever a broken node can put into a message
                dropped[node] = f"its answer cannot be read ({type(error).__name__}: {error})"
                continue
            if problem:
                dropped[node] = problem
            else:
                accepted[node] = keep(node, reply)
                log.debug("%s: node %s answered with %s", what, node, ", ".join(reply.states) or "values alone")
        exchange = self._exchange
        asked = [self.nodes[id_] for id_ in exchange.down]
        for node in set(asked) - set(accepted) - set(dropped):
            dropped[node] = f"no answer within {self.config.federation.timeout:g} s"
        about = {"stage": "dropped", "message": exchange.message_type, "round": exchange.round}
        self._write([{**about, "node": node, "reason": dropped[node]} for node in sorted(dropped, key=int)])
        reasons = [f"- node {node}: {dropped[node]}" for node in sorted(dropped, key=int)]
        if len(accepted) < min(self.config.min_nodes, len(asked)):
            raise VegasError(
                f"{what}: {len(accepted)} of {len(asked)} nodes gave a usable answer, "
                f"{self.config.min_nodes} are needed (federation.min_nodes).\n" + "\n".join(reasons)
            )
        for reason in reasons:
            log.warning("%s: dropped %s", what, reason.removeprefix("- "))
        return {node: accepted[node] for node in sorted(accepted, key=int)}

    def ask(
        self,
        message_type: str,
        contents: Mapping[str, RecordDict],
        what: str,
        check: Check,
        round_: int | None = None,
    ) -> dict[str, Reply]:
        """Send, wait, and :meth:`accept`."""
        replies = self.exchange(self.messages(message_type, contents), round_)
        return self.accept(replies, what, check, whole)

    def converse(
        self,
        message_type: str,
        contents: Mapping[str, RecordDict],
        what: str,
        check: Check,
        follow: Follow,
        idle: Callable[[], object] = lambda: None,
    ) -> dict[str, Reply]:
        """Like :meth:`ask`, but a node that is not done yet is sent a further message, until it is.

        No node waits for another. What a node prints reaches nobody in a deployment: a long job answers in parts
        to be heard. ``idle`` is called between two looks for answers.
        """
        queue = deque(self.messages(message_type, contents))

        def last() -> Iterator[Message]:
            for reply in self.exchange(queue, idle=idle):
                node = self._node(reply)
                content = None if node is None else self._next(node, reply, check, follow)
                if node is None or content is None:
                    yield reply
                else:
                    queue.extend(self.messages(message_type, {node: content}))

        return self.accept(last(), what, check, whole)

    @staticmethod
    def _next(node: str, message: Message, check: Check, follow: Follow) -> RecordDict | None:
        """What follows a reply; nothing follows one that :meth:`accept` will drop."""
        try:
            reply = None if message.has_error() else Reply(*unpack(message.content))
            if reply is None or reply.values.get("problem") or check(node, reply):
                return None
            return follow(node, reply)
        except Exception:  # whatever a broken node can put into a message; accept tells it
            return None

    def _failure(self, message: Message) -> str:
        """What Flower's errors mean."""
        if message.error.code == ErrorCode.NODE_UNAVAILABLE:
            return "it is gone: its SuperNode was ended or cannot be reached"
        if message.error.code in (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE):
            return f"no answer within {self.config.federation.timeout:g} s"
        return f"it failed: {message.error.reason}"

    def _node(self, reply: Message) -> str | None:
        """Whose answer it is, or None if it answers nothing of the exchange."""
        return self.nodes.get(self._exchange.asked.get(reply.metadata.reply_to_message_id, -1))

    def _write(self, lines: list[dict[str, Any]]) -> None:
        """Record lines, and those that waited for it; a node is told by its index."""
        lines = [*self._unrecorded, *lines]
        self._unrecorded = lines
        if self._record is not None:
            named = [{**line, "node": self.nodes.get(line["node"], line["node"])} for line in lines]
            self._unrecorded = [line for line in named if not isinstance(line["node"], str)]
            self._record.add_all([line for line in named if isinstance(line["node"], str)])
