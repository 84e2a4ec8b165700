"""The ClientApp: routes each message to the mode of a node that answers it."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.describe import describe
from clients.evaluate import evaluate
from clients.evaluate_generator import evaluate_generator
from clients.generate import generate
from clients.node import Node
from clients.policy import Policy
from clients.roots import Roots
from clients.sum_clips import sum_clips, sum_key
from clients.train_adapter import train_adapter
from clients.train_generator import train_generator
from vegas_fl.core.devices import memory_explained
from vegas_fl.core.errors import AboutRecordings, VegasError
from vegas_fl.federation.messages import (
    Describe,
    Evaluate,
    EvaluateGenerators,
    Generate,
    Request,
    SumClips,
    SumKeys,
    TrainAdapter,
    TrainGenerators,
    Values,
)
from vegas_fl.federation.wire import pack, unpack
from vegas_fl.storage.tensorfiles import State

Q = TypeVar("Q", bound=Request[Any])
Mode = Callable[[Node, Q], tuple[Values, dict[str, State]]]
"""A node and a request → the reply, and tensors by name."""

log = logging.getLogger("vegas_fl.node")


def answer(request: type[Q], mode: Mode[Q], message: Message, context: Context) -> Message:
    """Run a mode and reply with what it returns; a mistake it understood goes back as a sentence.

    A node with folders of its own sends no path, no name of a recording and nothing its data set says: those are only
    in its own log.
    """
    roots = Roots.of(str(context.node_config.get("partition-id", "missing")), context.node_config)
    dtype, states, values = "float32", dict[str, State](), dict[str, Any]()
    try:
        node, asked = Node.of(context, request, *unpack(message.content))
        start, dtype = time.perf_counter(), node.config.transport.dtype
        policy = None if roots is None else Policy.of(node, asked, context.node_config)
        if policy is not None:
            policy.check()
        with memory_explained():
            reply, states = mode(node, asked)
        if policy is not None:
            reply = policy.released(reply, states)
        worked = round(time.perf_counter() - start, 4)
        values = reply.model_copy(update={"node": node.id, "worked": worked}).model_dump(mode="json")
    except VegasError as error:
        values, states = {"problem": str(error)}, {}
        if roots is not None:
            log.error("%s", error)
            if isinstance(error, AboutRecordings):
                values["problem"] = f"node {roots.node} cannot use its recordings; see its own log"
    except Exception as error:  # its text may hold anything
        if roots is None:
            raise
        log.exception("a request failed")
        values = {"problem": f"node {roots.node} failed ({type(error).__name__}); see its own log"}
    if roots is not None:
        values = roots.without_places(values)
    return Message(pack(values, states, dtype), reply_to=message)


app = ClientApp()
app.query("describe")(partial(answer, Describe, describe))
app.train("generator")(partial(answer, TrainGenerators, train_generator))
app.train("adapter")(partial(answer, TrainAdapter, train_adapter))
app.query("sums")(partial(answer, SumKeys, sum_key))
app.train("sums")(partial(answer, SumClips, sum_clips))
app.evaluate("adapter")(partial(answer, Evaluate, evaluate))
app.evaluate("generator")(partial(answer, EvaluateGenerators, evaluate_generator))
app.query("generate")(partial(answer, Generate, generate))
