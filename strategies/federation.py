"""The nodes of a run: waits for them, sends, and lets through only replies that can be used."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from strategies.record import Record
from vegas_fl.config import Config
from vegas_fl.engines.messages import DESCRIBE, pack, unpack
from vegas_fl.errors import VegasError
from vegas_fl.tensorfiles import State

log = logging.getLogger("vegas_fl.server")


class Reply(NamedTuple):
    """A node's answer: values, and tensors by name."""

    values: dict[str, Any]
    states: dict[str, State]


class Sent(NamedTuple):
    """A message, the node it is for, and how many bytes went there and came back before its answer."""

    message: Message
    node: str
    down: int
    up: int = 0


Check = Callable[[str, Reply], str | None]
"""Node and reply → what is wrong with it, or None."""
T = TypeVar("T")
Keep: TypeAlias = Callable[[str, Reply], T]
"""Node and usable reply → what stays of it."""

FIRST_PAUSE, LAST_PAUSE = 0.05, 2.0
"""Seconds between two looks for answers: few while they keep coming, more when none does."""

Follow = Callable[[str, Reply], RecordDict | None]
"""Node and reply → what it is sent next, or None if it is done."""


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
        self._sent: list[Sent] = []
        self._sent_at = 0.0
        self._round: int | None = None
        self._record: Record | None = None
        self._unrecorded: list[dict[str, Any]] = []

    def record(self, record: Record) -> None:
        """From now on, and of what was sent before, record how much went to and fro and how long it took."""
        self._record = record
        record.add_all(self._unrecorded)

    def gather(self) -> dict[str, Reply]:
        """Wait for exactly the configured number of nodes, and ask each what it holds.

        Raises
        ------
        VegasError
            Too few nodes came, two have the same partition-id, or a node cannot take part; every reason is told.
        """
        wanted, end = len(self.config.nodes), time.monotonic() + self.config.federation.wait
        while len(present := sorted(self.grid.get_node_ids())) < wanted:
            if time.monotonic() > end:
                raise VegasError(
                    f"{len(present)} of {wanted} nodes registered within {self.config.federation.wait:g} s; "
                    "start the others, or raise federation.wait"
                )
            time.sleep(0.2)
        if len(present) > wanted:
            raise VegasError(
                f"{len(present)} nodes registered, but the configuration has {wanted}; stop the others, or add "
                "them to nodes"
            )
        self.nodes = {flower_id: str(position) for position, flower_id in enumerate(present)}
        messages = self.messages(DESCRIBE, dict.fromkeys(self.nodes.values(), self.content()))
        replies = list(self.exchange(messages))
        names: dict[int, str] = {}
        problems = []
        described: dict[str, Reply] = {}
        for message in replies:
            if message.has_error():
                problems.append(f"a node failed: {message.error.reason}")
                continue
            reply = Reply(*unpack(message.content))
            if problem := reply.values.get("problem"):
                problems.append(problem)
                continue
            node = reply.values["node"]
            if node in described:
                problems.append(f"two nodes have partition-id {node}; give each SuperNode its own")
            names[message.metadata.src_node_id] = node
            described[node] = reply
        if problems or len(described) < wanted:
            silent = wanted - len(replies)
            problems += [f"{silent} nodes did not answer"] if silent > 0 else []
            raise VegasError(
                "The run cannot start; nothing was trained.\n" + "\n".join(f"- {p}" for p in sorted(set(problems)))
            )
        self.nodes = names
        self._sent = [sent._replace(node=names[sent.message.metadata.dst_node_id]) for sent in self._sent]
        self._measure({reply.metadata.reply_to_message_id: size(reply.content) for reply in replies})
        return dict(sorted(described.items(), key=lambda item: int(item[0])))

    def content(self, states: Mapping[str, State] | None = None, **values: Any) -> RecordDict:
        """Content of a message: the resolved configuration, ``values`` and ``states``."""
        return pack({"config": self.config.model_dump(mode="json"), **values}, states)

    def messages(
        self, message_type: str, contents: Mapping[str, RecordDict], round_: int | None = None
    ) -> list[Message]:
        """A message for each node in ``contents``; ``round_`` is for the record."""
        ids = {node: flower_id for flower_id, node in self.nodes.items()}
        sizes = {id(content): size(content) for content in contents.values()}
        self._sent = [
            Sent(
                Message(content, dst_node_id=ids[node], message_type=message_type, group_id=message_type),
                node,
                sizes[id(content)],
            )
            for node, content in contents.items()
        ]
        log.debug("sending %s to nodes %s", message_type, ", ".join(contents))
        self._sent_at, self._round = time.monotonic(), round_
        return [sent.message for sent in self._sent]

    def exchange(self, messages: Iterable[Message], idle: Callable[[], object] = lambda: None) -> Iterator[Message]:
        """Send, and yield each answer when it comes, until all are there or ``federation.timeout`` has passed.

        What is yielded may be dropped before the next one comes: memory need not grow with the nodes. To a deque,
        further messages may be added meanwhile. ``idle`` is called between two looks for answers.
        """
        end, pause = time.monotonic() + self.config.federation.timeout, FIRST_PAUSE
        queue = messages if isinstance(messages, deque) else deque(messages)
        waiting: set[str] = set()
        while queue or (waiting and time.monotonic() < end):
            if queue:
                waiting.update(id_ for id_ in self.grid.push_messages([queue.popleft()]) if id_)
            else:
                idle()
                time.sleep(pause)
                pause = min(1.5 * pause, LAST_PAUSE)
            for reply in self.grid.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                pause = FIRST_PAUSE
                yield reply

    def accept(self, replies: Iterable[Message], what: str, check: Check, keep: Keep[T]) -> dict[str, T]:
        """What is kept of the usable replies to the messages sent last, by node, in the order of the nodes.

        A reply is dropped, with node and reason in the log, if it is an error, a problem, a duplicate, or
        fails ``check``. Each is dealt with when it comes; only what ``keep`` makes of it stays.

        Raises
        ------
        VegasError
            Fewer are left than ``federation.min_nodes``; every reason is told.
        """
        nodes = [sent.node for sent in self._sent]
        accepted: dict[str, T] = {}
        dropped: dict[str, str] = {}
        up: dict[str, int] = {}
        for message in replies:
            up[message.metadata.reply_to_message_id] = size(message.content) if message.has_content() else 0
            # A message gets its id when it is pushed, so the ids are not known before the first answer.
            asked = {sent.message.metadata.message_id: sent.node for sent in self._sent}
            node = asked.get(message.metadata.reply_to_message_id)
            if node is None or node in accepted:
                log.warning("%s: an answer nobody asked for was ignored", what)
                continue
            if message.has_error():
                dropped[node] = f"it failed: {message.error.reason}"
                continue
            try:
                reply = Reply(*unpack(message.content))
                problem = reply.values.get("problem") or check(node, reply)
            except Exception as error:  # whatever a broken node can put into a message
                dropped[node] = f"its answer cannot be read ({type(error).__name__}: {error})"
                continue
            if problem:
                dropped[node] = str(problem)
            else:
                accepted[node] = keep(node, reply)
                log.debug("%s: node %s answered with %s", what, node, ", ".join(reply.states) or "values alone")
        self._measure(up)
        for node in set(nodes) - set(accepted) - set(dropped):
            dropped[node] = f"no answer within {self.config.federation.timeout:g} s"
        reasons = [f"- node {node}: {dropped[node]}" for node in sorted(dropped, key=int)]
        if len(accepted) < min(self.config.min_nodes, len(nodes)):
            raise VegasError(
                f"{what}: {len(accepted)} of {len(nodes)} nodes gave a usable answer, "
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
        replies = self.exchange(self.messages(message_type, contents, round_))
        return self.accept(replies, what, check, lambda node, reply: reply)

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
        ids = {node: flower_id for flower_id, node in self.nodes.items()}
        queue = deque(self.messages(message_type, contents))
        current = {sent.node: sent for sent in self._sent}
        last: list[Message] = []
        for reply in self.exchange(queue, idle):
            answered = {sent.message.metadata.message_id: sent for sent in current.values()}
            sent = answered.get(reply.metadata.reply_to_message_id)
            if sent is None:
                continue
            content = self._next(sent.node, reply, follow)
            if content is None:
                last.append(reply)
                continue
            message = Message(content, dst_node_id=ids[sent.node], message_type=message_type, group_id=message_type)
            down, up = sent.down + size(content), sent.up + size(reply.content)
            current[sent.node] = sent._replace(message=message, down=down, up=up)
            queue.append(message)
        self._sent = list(current.values())
        return self.accept(last, what, check, lambda node, reply: reply)

    @staticmethod
    def _next(node: str, message: Message, follow: Follow) -> RecordDict | None:
        """What follows a reply; nothing follows one that :meth:`accept` will drop."""
        try:
            reply = None if message.has_error() else Reply(*unpack(message.content))
            return None if reply is None or reply.values.get("problem") else follow(node, reply)
        except Exception:  # whatever a broken node can put into a message; accept tells it
            return None

    def _measure(self, up: Mapping[str, int]) -> None:
        """Record an exchange: bytes of the contents to each node and (by message) from it, and how long it took."""
        seconds = round(time.monotonic() - self._sent_at, 3)
        lines: list[dict[str, Any]] = [
            {
                "stage": "traffic",
                "message": sent.message.metadata.message_type,
                "round": self._round,
                "node": sent.node,
                "down": sent.down,
                "up": sent.up + up.get(sent.message.metadata.message_id, 0),
                "seconds": seconds,
            }
            for sent in self._sent
        ]
        if self._record is None:
            # The run's folder is made only when all nodes are there.
            self._unrecorded += [{"time": round(time.time(), 3), **line} for line in lines]
        else:
            self._record.add_all(lines)


def size(content: RecordDict) -> int:
    """Bytes of a message's content: its arrays as they are sent, and its values."""
    return sum(record.count_bytes() for record in content.values())
