"""Nodes that can be told to fail, vanish, lie and come back, and runs of the real server on them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flwr.app import Context, Message

from clients.client_app import app as client_app
from strategies import server_app
from vegas_fl.config import Config, compose
from vegas_fl.engines.inprocess import InProcessGrid
from vegas_fl.federation.messages import DESCRIBE, pack, unpack
from vegas_fl.storage.tensorfiles import State

CLASSES = ("dog", "dog", "dog", "drum", "snoring")
COMMON = [
    *(f"nodes.{i}={{selected_classes: [{label}], samples_per_node: 12}}" for i, label in enumerate(CLASSES)),
    *("data.clips_per_class=36", "data.train_ratio=0.6", "data.test_ratio=0.3", "generator.epochs=40"),
    *(
        "aggregation.epochs=8",
        "aggregation.samples_per_class=100",
        "evaluation.generators=false",
        "evaluation.compare=[]",
    ),
]

Twist = Callable[[State], State]


class Nodes(InProcessGrid):
    """The real ClientApp on nodes whose answers are changed, and that go and come back."""

    def __init__(self, count: int) -> None:
        self.twists: dict[tuple[str, str], Twist] = {}
        self.crashes: set[tuple[str, str]] = set()
        self.gone: set[str] = set()
        self.odd: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        super().__init__(self._answer, count)  # type: ignore[arg-type]  # a ClientApp is called, nothing else

    def _answer(self, message: Message, context: Context) -> Message:
        node, kind = str(context.node_config["partition-id"]), message.metadata.message_type
        self.asked.append((node, kind))
        if (node, kind) in self.crashes or node in self.gone:
            raise RuntimeError("boom")
        reply = client_app(message, context)
        if node in self.odd and kind == DESCRIBE:
            values, _ = unpack(reply.content)
            reply.content = pack({**values, "audio": {**values["audio"], "fingerprint": "another"}})
        if (twist := self.twists.get((node, kind))) is not None:
            values, states = unpack(reply.content)
            reply.content = pack(values, {name: twist(state) for name, state in states.items()})
        return reply

    def get_node_ids(self) -> Iterable[int]:
        return [id_ for id_, c in self._contexts.items() if str(c.node_config["partition-id"]) not in self.gone]

    def restart(self, node: str) -> None:
        """Come back under another id, as a SuperNode without a key does."""
        self.gone.discard(node)
        (old,) = [id_ for id_, c in self._contexts.items() if str(c.node_config["partition-id"]) == node]
        new = max(self._contexts) + 1
        context = self._contexts.pop(old)
        context.node_id = new
        self._contexts[new] = context


def run(generators: Path, cache: Path, nodes: Nodes, folder: Path, *overrides: str) -> Config:
    """A run of the adapters' stage in ``folder`` (unless told otherwise)."""
    common = [word for word in COMMON if "aggregation=fedavg" not in overrides or not word.startswith("aggregation.")]
    settings = [f"paths.{key}={folder / key}" for key in ("checkpoints", "runs")]
    config = compose(
        [
            *(*common, *settings, f"paths.cache={cache}", "run=r", "stages=[adapters]"),
            f"generator.checkpoint_dir={generators / 'checkpoints/generators/clean'}",
            *overrides,
        ]
    )
    with contextlib.chdir(folder):
        server_app.run(nodes, config)
    return config


def lines(folder: Path, stage: str) -> list[dict[str, Any]]:
    text = (folder / "runs/r/metrics.jsonl").read_text("utf8").splitlines()
    return [line for line in map(json.loads, text) if line["stage"] == stage]
