"""The ClientApp: routes each message to the mode of a node that answers it."""

from __future__ import annotations

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
from clients.train_adapter import train_adapter
from clients.train_generator import train_generator
from vegas_fl.engines.messages import pack, unpack
from vegas_fl.errors import VegasError
from vegas_fl.tensorfiles import State

Mode = Callable[[Node], tuple[dict[str, Any], dict[str, State]]]


def answer(mode: Mode, message: Message, context: Context) -> Message:
    """Run a mode; a mistake it understood goes back as a sentence. ``worked`` is how many seconds it took."""
    try:
        node = Node.of(context, *unpack(message.content))
        start = time.perf_counter()
        values, states = mode(node)
        worked = round(time.perf_counter() - start, 4)
        content = pack({"node": node.id, "worked": worked, **values}, states, node.config.transport.dtype)
    except VegasError as error:
        content = pack({"problem": str(error)})
    return Message(content, reply_to=message)


app = ClientApp()
app.query("describe")(lambda message, context: answer(describe, message, context))
app.train("generator")(lambda message, context: answer(train_generator, message, context))
app.train("adapter")(lambda message, context: answer(train_adapter, message, context))
app.evaluate("adapter")(lambda message, context: answer(evaluate, message, context))
app.evaluate("generator")(lambda message, context: answer(evaluate_generator, message, context))
app.query("generate")(lambda message, context: answer(generate, message, context))
