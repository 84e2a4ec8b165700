"""``engine=inprocess``: server and nodes in this process, with real messages and models loaded only once."""

import importlib
import logging
import uuid
from collections.abc import Iterable
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from vegas_fl.config import Config
from vegas_fl.engines import CLIENT_APP, SERVER_APP

RUN_ID = 1
SERVER_ID = 1
"""Flower's id of the SuperLink; the nodes' ids follow it."""


class InProcessGrid(Grid):
    """A Grid that answers messages by calling a ClientApp, one node after the other.

    Parameters
    ----------
    client_app : ClientApp
    nodes : int
        Number of nodes; node i has partition-id i.
    """

    def __init__(self, client_app: ClientApp, nodes: int) -> None:
        self._client_app = client_app
        self._contexts = {
            SERVER_ID + 1 + i: Context(
                run_id=RUN_ID,
                node_id=SERVER_ID + 1 + i,
                node_config={"partition-id": i, "num-partitions": nodes},
                state=RecordDict(),
                run_config={},
            )
            for i in range(nodes)
        }
        self._replies: dict[str, Message] = {}
        self._run = Run.create_empty(run_id=RUN_ID)
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, SERVER_ID, 1

    def set_run(self, run: Run) -> None:
        """Set the run (called by Flower)."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run, of which there is only one."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message to a node."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Ids of all nodes, in the order of their partition-ids."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Call each node; an exception becomes Flower's error reply, as in a deployment."""
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = uuid.uuid4().hex
            try:
                reply = self._client_app(message, self._contexts[message.metadata.dst_node_id])
            except Exception as error:  # a ClientApp may raise anything; the server decides what to do
                logging.getLogger("vegas_fl.node").debug("a node failed", exc_info=True)
                reason = f"{type(error).__name__}: {error}"
                reply = Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message)
            self._replies[message.metadata.message_id] = reply
            ids.append(message.metadata.message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies, each once."""
        return [self._replies.pop(id_) for id_ in message_ids if id_ in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, then pull; replies are never late here."""
        return self.pull_messages(self.push_messages(messages))


def run(config: Config) -> None:
    """Run ``config``.

    Raises
    ------
    VegasError
        The run stopped; the message has the reason.
    """
    logging.getLogger("flwr").setLevel(logging.WARNING)
    grid = InProcessGrid(_app(CLIENT_APP), len(config.nodes))
    context = Context(
        run_id=RUN_ID,
        node_id=SERVER_ID,
        node_config={},
        state=RecordDict(),
        run_config={"overrides": "", "resolved": config.model_dump_json()},
    )
    _app(SERVER_APP)(grid, context)


def _app(name: str) -> Any:
    """The object that an import string names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
