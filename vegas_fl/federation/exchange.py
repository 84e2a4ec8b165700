"""Messages to the nodes that are present, and what of their replies can be used."""

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError
from vegas_fl.core.names import shown
from vegas_fl.federation.checks import LONGEST
from vegas_fl.federation.messages import R, Request
from vegas_fl.federation.wire import Missing, Refused, Reply, read
from vegas_fl.runs.record import Record

log = logging.getLogger("vegas_fl.server")

T = TypeVar("T")
Check: TypeAlias = Callable[[str, Reply[R]], str | None]
"""Node and reply → why the reply cannot be used, or None."""
Keep: TypeAlias = Callable[[str, Reply[R]], T]
"""Node and usable reply → what stays of it."""
Follow: TypeAlias = Callable[[str, Reply[R]], RecordDict | None]
"""Node and reply → what it is sent next, or None if it is done."""

FIRST_PAUSE, LAST_PAUSE = 0.05, 2.0
"""Seconds between two polls for replies: short while they keep coming, longer when none does."""


class Traffic:
    """Bytes of the messages of one kind, to and from each node (by Flower's id)."""

    def __init__(self, kind: str, round_: int | None) -> None:
        self.kind, self.round = kind, round_
        self.asked: dict[str, int] = {}
        """Id of a message → of its node."""
        self.down: dict[int, int] = {}
        self.up: dict[int, int] = {}
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the first message was sent."""
        return time.monotonic() - self._start

    def sent(self, message: Message, id_: str | None) -> None:
        """Count a message; its id is None if it did not go out."""
        node = message.metadata.dst_node_id
        self.down[node] = self.down.get(node, 0) + size(message.content)
        if id_:
            self.asked[id_] = node

    def received(self, reply: Message) -> None:
        """Count a reply."""
        node = self.asked.get(reply.metadata.reply_to_message_id)
        if node is not None and reply.has_content():
            self.up[node] = self.up.get(node, 0) + size(reply.content)

    def lines(self) -> list[dict[str, Any]]:
        """One line of metrics per node."""
        about = {"time": round(time.time(), 3), "stage": "traffic", "message": self.kind, "round": self.round}
        seconds = round(self.seconds, 3)
        return [
            {**about, "node": node, "down": down, "up": self.up.get(node, 0), "seconds": seconds}
            for node, down in self.down.items()
        ]


def size(content: RecordDict) -> int:
    """Bytes of a message's content: its arrays as they are sent, and its values."""
    return sum(record.count_bytes() for record in content.values())


class Exchange:
    """Sends requests to nodes over Flower's ``grid``, and lets through only replies that can be used."""

    def __init__(self, grid: Grid, config: Config) -> None:
        self.grid, self.config = grid, config
        self.nodes: dict[int, str] = {}
        """Flower's id → index in the configuration, of the nodes that take part."""
        self.rejected: set[str] = set()
        """Nodes that sent what cannot be used: the run needs them no more."""
        self._record: Record | None = None
        self._traffic = Traffic("", None)
        self._unrecorded: list[dict[str, Any]] = []

    def record_in(self, record: Record) -> None:
        """From now on record a line per node and exchange, and one per dropped reply; also those from before."""
        self._record = record
        self._write([])

    def ask(
        self,
        kind: type[Request[R]],
        contents: Mapping[str, RecordDict],
        what: str,
        check: Check[R],
        round_: int | None = None,
        follow: Follow[R] = lambda node, reply: None,
        idle: Callable[[], object] = lambda: None,
    ) -> dict[str, Reply[R]]:
        """Send each node in ``contents`` a request, and :meth:`accept` the replies.

        A node that is not done yet is sent what ``follow`` returns for its reply, until that is None. No node waits for
        another. What a node prints reaches nobody in a deployment: a long job answers in parts so that its progress is
        known. ``idle`` is called between two polls for replies.
        """
        queue = deque(self.messages(kind, contents))

        def goes_on(node: str, reply: Reply[R]) -> bool:
            content = follow(node, reply)
            if content is not None:
                queue.extend(self.messages(kind, {node: content}))
            return content is not None

        return self.accept(kind, self.exchange(queue, round_, idle), what, check, _whole, goes_on)

    def messages(self, kind: type[Request[R]], contents: Mapping[str, RecordDict]) -> list[Message]:
        """A message for each node in ``contents`` that takes part."""
        ids = {node: id_ for id_, node in self.nodes.items()}
        log.debug("sending %s to nodes %s", kind.kind, ", ".join(contents))
        return self._messages(kind, {ids[node]: contents[node] for node in contents if node in ids})

    def _messages(self, kind: type[Request[R]], contents: Mapping[int, RecordDict]) -> list[Message]:
        ttl = self.config.federation.timeout
        return [
            Message(content, dst_node_id=id_, message_type=kind.kind, group_id=kind.kind, ttl=ttl)
            for id_, content in contents.items()
        ]

    def exchange(
        self, messages: Iterable[Message], round_: int | None = None, idle: Callable[[], object] = lambda: None
    ) -> Iterator[Message]:
        """Send, and yield each reply that comes within ``federation.timeout`` of its request, until none is missing.

        What is yielded may be dropped before the next one comes: memory need not grow with the nodes. To a deque,
        further messages may be added meanwhile. ``round_`` is for the record.
        """
        queue, pause = messages if isinstance(messages, deque) else deque(messages), FIRST_PAUSE
        traffic = self._traffic = Traffic(queue[0].metadata.message_type if queue else "", round_)
        waiting: dict[str, float] = {}  # id of a message → when its reply is late
        while queue or waiting:
            if queue:
                message = queue.popleft()
                id_ = next(iter(self.grid.push_messages([message])), None)
                traffic.sent(message, id_)
                waiting |= {id_: time.monotonic() + self.config.federation.timeout} if id_ else {}
            else:
                idle()
                time.sleep(pause)
                pause = min(1.5 * pause, LAST_PAUSE)
            for reply in self.grid.pull_messages(waiting):
                waiting.pop(reply.metadata.reply_to_message_id, None)
                pause = FIRST_PAUSE
                traffic.received(reply)
                yield reply
            waiting = {id_: late for id_, late in waiting.items() if late > time.monotonic()}
        self._write(traffic.lines())

    def accept(
        self,
        kind: type[Request[R]],
        replies: Iterable[Message],
        what: str,
        check: Check[R],
        keep: Keep[R, T],
        goes_on: Callable[[str, Reply[R]], bool] = lambda node, reply: False,
    ) -> dict[str, T]:
        """What ``keep`` makes of the usable replies of an :meth:`exchange`, in the order of the nodes.

        A reply is dropped, with node and reason in log and metrics, if it is an error, reports a problem, is a second
        one, is not valid, or fails ``check``; after one that ``goes_on`` another follows. Each is dealt with when it
        comes.

        Raises
        ------
        VegasError
            Too few are left (:meth:`needed`); it lists every reason.
        """
        accepted: dict[str, T] = {}
        dropped: dict[str, str] = {}
        missing: set[str] = set()
        for message in replies:
            node, reply, problem, absent = self._read(kind, message, check)
            if node is None:
                log.warning("%s: ignored a reply to another request", what)
            elif node in accepted or node in dropped:
                log.warning("%s: ignored a second reply of node %s", what, node)
            elif reply is None:
                dropped[node] = problem
                missing |= {node} if absent else set()
            elif not goes_on(node, reply):
                accepted[node] = keep(node, reply)
                log.debug("%s: node %s sent %s", what, node, ", ".join(reply.states) or "values only")
        asked = [self.nodes[id_] for id_ in self._traffic.down]
        silent = set(asked) - set(accepted) - set(dropped)
        self.drop(dropped | dict.fromkeys(silent, self._silent()), what, accepted, missing | silent)
        return {node: accepted[node] for node in sorted(accepted, key=int)}

    def needed(self, of: int, rejected: int) -> int:
        """How many of so many nodes a stage needs, if some sent what cannot be used: ``federation.min_nodes``, or else
        all others, and more than half."""
        return min(self.config.federation.min_nodes or max(of - rejected, of // 2 + 1), of)

    def drop(
        self, dropped: Mapping[str, str], what: str, accepted: Collection[str], missing: Collection[str] = ()
    ) -> None:
        """Record which nodes' replies to the last request cannot be used, with the reasons; ``missing``: which of them
        sent none. Raise :class:`VegasError` if too few are ``accepted``."""
        self.rejected |= set(dropped) - set(missing)
        asked = {self.nodes[id_] for id_ in self._traffic.down}
        needed = self.needed(len(asked), len((self.rejected & asked) - set(accepted)))
        about = {"stage": "dropped", "message": self._traffic.kind, "round": self._traffic.round}
        reasons = {node: dropped[node] for node in sorted(dropped, key=int)}
        self._write([{**about, "node": node, "reason": reason} for node, reason in reasons.items()])
        if len(accepted) < needed:
            raise VegasError(
                f"{what}: {len(accepted)} of {len(asked)} nodes sent a usable reply, expected {needed} "
                "(federation.min_nodes).\n" + "\n".join(f"- node {node}: {reason}" for node, reason in reasons.items())
            )
        for node, reason in reasons.items():
            log.warning("%s: dropped node %s: %s", what, node, reason)

    def _read(
        self, kind: type[Request[R]], message: Message, check: Check[R]
    ) -> tuple[str | None, Reply[R] | None, str, bool]:
        """Whose reply it is (None: nobody was asked for it), and the reply, or why it cannot be used, and whether there
        is none (:class:`Missing`)."""
        node = self.nodes.get(self._traffic.asked.get(message.metadata.reply_to_message_id, -1))
        try:
            reply = self.valid(kind, message)
            problem = check(node, reply) if node is not None else None
        except Refused as error:
            return node, None, str(error), isinstance(error, Missing)
        except Exception as error:  # tensors may hold anything
            return node, None, shown(f"cannot be checked ({type(error).__name__}: {error})")[:LONGEST], False
        return node, None if problem else reply, (problem or "")[:LONGEST], False

    def valid(self, kind: type[Request[R]], message: Message) -> Reply[R]:
        """The reply to a request of some kind.

        Raises
        ------
        Refused
            It is an error of Flower's or reports a problem (both :class:`Missing`), or is not valid.
        """
        if not message.has_error():
            try:
                return read(message.content, kind.reply)  # type: ignore[arg-type]
            except Refused as error:
                raise type(error)(str(error)[:LONGEST]) from error
        code = message.error.code
        if code == ErrorCode.NODE_UNAVAILABLE:
            raise Missing("unavailable: its SuperNode was stopped or cannot be reached")
        if code in (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE):
            raise Missing(self._silent())
        raise Missing(f"failed: {shown(message.error.reason)}"[:LONGEST])

    def _silent(self) -> str:
        return f"no reply within {self.config.federation.timeout:g} s"

    def _write(self, lines: list[dict[str, Any]]) -> None:
        """Record lines, and those that waited for it: of nodes whose index is not known yet, or from before the run
        has a folder."""
        lines = [*self._unrecorded, *lines]
        self._unrecorded = lines
        if self._record is not None:
            named = [{**line, "node": self.nodes.get(line["node"], line["node"])} for line in lines]
            self._unrecorded = [line for line in named if not isinstance(line["node"], str)]
            self._record.add_all([line for line in named if isinstance(line["node"], str)])


def _whole(node: str, reply: Reply[R]) -> Reply[R]:
    return reply
