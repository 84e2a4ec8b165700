"""Flower's own FedAvg, and ours, when one of three nodes fails in the first of two rounds.

Both train nothing: a node answers with what it was sent, plus one. So a run that went well ends with twos.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from vegas_fl.storage.tensorfiles import State

FAULTS = ("none", "exception", "NaN", "wrong shape", "wrong keys", "process exit")
NODES, ROUNDS, FAULTY = 3, 2, 1
PATIENCE = 180
"""Seconds after which a run is ended."""


def answer(fault: str, state: State, context: Context) -> State:
    """What a node makes of what it was sent; the faulty one fails the first time."""
    grown = {name: tensor + 1 for name, tensor in state.items()}
    first = float(state["w"][0]) == 0.0
    if context.node_config["partition-id"] != FAULTY or not first:
        return grown
    if fault == "exception":
        raise RuntimeError("boom")
    if fault == "process exit":
        os._exit(1)
    changes: dict[str, Callable[[], State]] = {
        "none": lambda: grown,
        "NaN": lambda: {"w": torch.full((4,), float("nan"))},
        "wrong shape": lambda: {"w": torch.ones(5)},
        "wrong keys": lambda: {"v": torch.ones(4)},
    }
    return changes[fault]()


def flower(fault: str) -> None:
    """Flower's own, in its simulation; prints the weights it ends with."""
    client, server = ClientApp(), ServerApp()

    @client.train()
    def train(message: Message, context: Context) -> Message:
        state = answer(fault, message.content.array_records["arrays"].to_torch_state_dict(), context)
        figures = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": ArrayRecord(state), "metrics": figures}), reply_to=message)

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=NODES, min_available_nodes=NODES)
        result = strategy.start(grid, ArrayRecord({"w": torch.zeros(4)}), num_rounds=ROUNDS, timeout=60)
        print(
            "WEIGHTS", json.dumps({k: v.tolist() for k, v in result.arrays.to_torch_state_dict().items()}), flush=True
        )

    run_simulation(server, client, NODES, backend_config={"client_resources": {"num_cpus": 1}})


def outcome(fault: str) -> str:
    """How Flower's own FedAvg ends, in a process of its own."""
    with tempfile.TemporaryDirectory() as home:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "vegas_fl.benchmarks.faults", fault],
                env=os.environ | {"FLWR_HOME": home, "FLWR_TELEMETRY_ENABLED": "0", "RAY_DEDUP_LOGS": "0"},
                cwd=Path(__file__).parents[2],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return f"does not end within {PATIENCE} s"
    told = [line for line in done.stdout.splitlines() if line.startswith("WEIGHTS")]
    if not told:
        last = [line for line in (done.stderr + done.stdout).splitlines() if re.match(r"[\w.]+: ", line)]
        return f"exit code {done.returncode}: {last[-1].strip() if last else 'no message'}"
    weights = [x for values in json.loads(told[-1].removeprefix("WEIGHTS ")).values() for x in values]
    shown = "NaN" if any(map(math.isnan, weights)) else ", ".join(f"{x:g}" for x in sorted(set(weights))) or "none"
    return f"exit code {done.returncode}, weights {shown}"


def table() -> str:
    """A row a fault, as Markdown."""
    rows = [f"| {fault} | {outcome(fault)} |" for fault in FAULTS]
    return "\n".join(["| fault of one node in round 1 of 2 | Flower's FedAvg ends with |", "|---|---|", *rows])


if __name__ == "__main__":
    flower(sys.argv[1])
