"""The nodes of a run: waits for them, sends, and lets through only replies that can be used."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from vegas_fl.config import Config
from vegas_fl.engines.messages import DESCRIBE, pack, unpack
from vegas_fl.errors import VegasError
from vegas_fl.tensorfiles import State

log = logging.getLogger("vegas_fl.server")


class Reply(NamedTuple):
    """A node's answer: values, and tensors by name."""

    values: dict[str, Any]
    states: dict[str, State]


Check = Callable[[str, Reply], str | None]
"""Node and reply → what is wrong with it, or None."""

Follow = Callable[[str, Reply], RecordDict | None]
"""Node and reply → what it is sent next, or None if it is done."""

POLL = 0.5
"""Seconds between looks for replies, while there is none."""


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
        self._sent: list[tuple[Message, str]] = []

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
        replies = list(self.grid.send_and_receive(messages, timeout=self.config.federation.timeout))
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
        return dict(sorted(described.items(), key=lambda item: int(item[0])))

    def content(self, states: Mapping[str, State] | None = None, **values: Any) -> RecordDict:
        """Content of a message: the resolved configuration, ``values`` and ``states``."""
        return pack({"config": self.config.model_dump(mode="json"), **values}, states)

    def messages(self, message_type: str, contents: Mapping[str, RecordDict]) -> list[Message]:
        """A message for each node in ``contents``."""
        ids = {node: flower_id for flower_id, node in self.nodes.items()}
        self._sent = [
            (Message(content, dst_node_id=ids[node], message_type=message_type, group_id=message_type), node)
            for node, content in contents.items()
        ]
        log.debug("sending %s to nodes %s", message_type, ", ".join(contents))
        return [message for message, _ in self._sent]

    def accept(self, replies: Iterable[Message], what: str, check: Check) -> dict[str, Reply]:
        """The usable replies to the messages sent last, by node, in the order of the nodes.

        A reply is dropped, with node and reason in the log, if it is an error, a problem, a duplicate, or
        fails ``check``.

        Raises
        ------
        VegasError
            Fewer are left than ``federation.min_nodes``; every reason is told.
        """
        asked = {message.metadata.message_id: node for message, node in self._sent}
        accepted: dict[str, Reply] = {}
        dropped: dict[str, str] = {}
        for message in replies:
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
                accepted[node] = reply
                log.debug("%s: node %s answered with %s", what, node, ", ".join(reply.states) or "values alone")
        for node in set(asked.values()) - set(accepted) - set(dropped):
            dropped[node] = f"no answer within {self.config.federation.timeout:g} s"
        reasons = [f"- node {node}: {dropped[node]}" for node in sorted(dropped, key=int)]
        if len(accepted) < min(self.config.min_nodes, len(asked)):
            raise VegasError(
                f"{what}: {len(accepted)} of {len(asked)} nodes gave a usable answer, "
                f"{self.config.min_nodes} are needed (federation.min_nodes).\n" + "\n".join(reasons)
            )
        for reason in reasons:
            log.warning("%s: dropped %s", what, reason.removeprefix("- "))
        return {node: accepted[node] for node in sorted(accepted, key=int)}

    def ask(self, message_type: str, contents: Mapping[str, RecordDict], what: str, check: Check) -> dict[str, Reply]:
        """Send, wait, and :meth:`accept`."""
        messages = self.messages(message_type, contents)
        replies = self.grid.send_and_receive(messages, timeout=self.config.federation.timeout)
        return self.accept(replies, what, check)

    def converse(
        self, message_type: str, contents: Mapping[str, RecordDict], what: str, check: Check, follow: Follow
    ) -> dict[str, Reply]:
        """Like :meth:`ask`, but a node that is not done yet is sent a further message, until it is.

        No node waits for another. What a node prints reaches nobody in a deployment: a long job answers in parts
        to be heard.
        """
        end = time.monotonic() + self.config.federation.timeout
        ids = {node: flower_id for flower_id, node in self.nodes.items()}
        open_: dict[str, tuple[Message, str]] = {}
        last: list[tuple[Message, str]] = []
        replies: list[Message] = []

        def send(messages: list[tuple[Message, str]]) -> None:
            self.grid.push_messages([message for message, _ in messages])
            open_.update({message.metadata.message_id: (message, node) for message, node in messages})

        self.messages(message_type, contents)
        send(self._sent)
        while open_ and time.monotonic() < end:
            arrived = list(self.grid.pull_messages(list(open_)))
            if not arrived:
                time.sleep(POLL)
            for reply in arrived:
                sent = open_.pop(reply.metadata.reply_to_message_id, None)
                if sent is None:
                    continue
                node = sent[1]
                content = self._next(node, reply, follow)
                if content is None:
                    last.append(sent)
                    replies.append(reply)
                else:
                    group = message_type
                    message = Message(content, dst_node_id=ids[node], message_type=message_type, group_id=group)
                    send([(message, node)])
        self._sent = [*last, *open_.values()]
        return self.accept(replies, what, check)

    @staticmethod
    def _next(node: str, message: Message, follow: Follow) -> RecordDict | None:
        """What follows a reply; nothing follows one that :meth:`accept` will drop."""
        try:
            reply = None if message.has_error() else Reply(*unpack(message.content))
            return None if reply is None or reply.values.get("problem") else follow(node, reply)
        except Exception:  # whatever a broken node can put into a message; accept tells it
            return None
