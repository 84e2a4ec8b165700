"""The ClientApp: routes each message to the mode of a node that answers it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.describe import describe
from clients.evaluate import evaluate
from clients.evaluate_generator import evaluate_generator
from clients.generate import generate
from clients.node import Node
from clients.roots import Roots
from clients.train_adapter import train_adapter
from clients.train_generator import train_generator
from vegas_fl.core.errors import AboutRecordings, VegasError
from vegas_fl.federation.messages import pack, unpack
from vegas_fl.storage.tensorfiles import State

Mode = Callable[[Node], tuple[dict[str, Any], dict[str, State]]]


log = logging.getLogger("vegas_fl.node")


def answer(mode: Mode, message: Message, context: Context) -> Message:
    """Run a mode; a mistake it understood goes back as a sentence. ``worked`` is how many seconds it took.

    Of a node with folders of its own, no path goes back, and nothing of what its recordings are called or its data
    set says: that is in the log of the node alone.
    """
    roots = Roots.of(str(context.node_config.get("partition-id", "missing")), context.node_config)
    dtype, states = "float32", dict[str, State]()
    try:
        node = Node.of(context, *unpack(message.content))
        start, dtype = time.perf_counter(), node.config.transport.dtype
        values, states = mode(node)
        values = {"node": node.id, "worked": round(time.perf_counter() - start, 4), **values}
    except VegasError as error:
        values = {"problem": str(error)}
        if roots is not None:
            log.error("%s", error)
            if isinstance(error, AboutRecordings):
                values["problem"] = f"node {roots.node} cannot use its recordings; its own log says why"
    except Exception as error:  # its text may hold anything
        if roots is None:
            raise
        log.exception("a request failed")
        values = {"problem": f"node {roots.node} failed ({type(error).__name__}); its own log says why"}
    if roots is not None:
        values = roots.without_places(values)
    return Message(pack(values, states, dtype), reply_to=message)


app = ClientApp()
app.query("describe")(lambda message, context: answer(describe, message, context))
app.train("generator")(lambda message, context: answer(train_generator, message, context))
app.train("adapter")(lambda message, context: answer(train_adapter, message, context))
app.evaluate("adapter")(lambda message, context: answer(evaluate, message, context))
app.evaluate("generator")(lambda message, context: answer(evaluate_generator, message, context))
app.query("generate")(lambda message, context: answer(generate, message, context))
