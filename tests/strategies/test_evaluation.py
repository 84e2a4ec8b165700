"""Which adapters each node scores, and how many bytes they take."""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from flwr.app import RecordDict

from strategies.evaluation import evaluate, scored_by
from vegas_fl.config import compose
from vegas_fl.federation.exchange import size
from vegas_fl.storage.headers import Spaces

NODES = [str(node) for node in range(10)]


def test_a_node_is_sent_about_an_eighth_of_all_adapters_in_float32() -> None:
    federation = MagicMock(config=compose(["experiment=esc10_10n", "data.root=."]))
    federation.nodes = dict(enumerate(NODES))
    sent: Counter[str] = Counter()

    def ask(kind: Any, contents: dict[str, RecordDict], *more: Any) -> dict[str, Any]:
        sent.update({node: sum(r.count_bytes() for r in c.array_records.values()) for node, c in contents.items()})
        assert all(size(content) < 2**20 for content in contents.values())
        return {}

    federation.ask = ask
    spaces = Spaces(audio_tokens=1, audio_width=1, clip_width=1, t5_tokens=1, t5_width=1, audio="a", text="b")
    names = [*(f"local {node}" for node in NODES), "fedavg", "kd"]
    candidates = [(name, {"weight": torch.randn(100_000)}) for name in names]
    evaluate(federation, MagicMock(), spaces, 1, {"targets": {"clip": torch.zeros(10)}}, candidates, NODES)
    everything = len(candidates) * 400_000
    assert set(sent) == set(NODES) and max(sent.values()) < 0.13 * everything


@pytest.mark.parametrize("most", [1, 2, 4, 10, 50])
def test_every_own_adapter_is_scored_equally_often_and_first_of_all_by_its_node(most: int) -> None:
    for round_ in (1, 2):
        scored = [scored_by(node, NODES, most, round_) for node in NODES]
        assert all(
            mine[0] == node and len(set(mine)) == min(most, 10) for node, mine in zip(NODES, scored, strict=True)
        )
        assert set(Counter(node for mine in scored for node in mine).values()) == {min(most, 10)}
    assert scored_by("0", ["3", "5"], 1, 1) == ["3"]  # a node whose own adapter was not usable
