"""Messages of one kind to some nodes, and their answers: what they hold, and how many bytes went to and fro."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from flwr.app import Message, RecordDict

from vegas_fl.storage.tensorfiles import State


class Reply(NamedTuple):
    """A node's answer: values, and tensors by name."""

    values: dict[str, Any]
    states: dict[str, State]


class Exchange:
    """Messages that were sent, and how much went to each node (by Flower's id) and came back."""

    def __init__(self, message_type: str, round_: int | None) -> None:
        self.message_type, self.round = message_type, round_
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
        """Count an answer."""
        node = self.asked.get(reply.metadata.reply_to_message_id)
        if node is not None and reply.has_content():
            self.up[node] = self.up.get(node, 0) + size(reply.content)

    def lines(self) -> list[dict[str, Any]]:
        """For the record; a node by Flower's id."""
        common = {"time": round(time.time(), 3), "stage": "traffic", "message": self.message_type, "round": self.round}
        seconds = round(self.seconds, 3)
        return [
            {**common, "node": node, "down": down, "up": self.up.get(node, 0), "seconds": seconds}
            for node, down in self.down.items()
        ]


def size(content: RecordDict) -> int:
    """Bytes of a message's content: its arrays as they are sent, and its values."""
    return sum(record.count_bytes() for record in content.values())
