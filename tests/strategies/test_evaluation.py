"""Which adapters each node scores, how many bytes they take, and how sure the totals are."""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
import torch
from flwr.app import RecordDict

from strategies.evaluation import _record as total
from strategies.evaluation import evaluate, scored_by
from vegas_fl.config import compose
from vegas_fl.federation.messages import Branches, Evaluation, Sums
from vegas_fl.federation.wire import Reply, unpack
from vegas_fl.storage.headers import Spaces

NODES = [str(node) for node in range(10)]


def messages(*, lacking: bool = False) -> tuple[list[tuple[str, dict[str, torch.Tensor]]], list[dict[str, RecordDict]]]:
    """Candidates of ten nodes, and what each node is sent; again, if its own adapter is lacking."""
    federation = MagicMock(config=compose(["experiment=esc10_10n", "data.root=."]))
    federation.nodes = dict(enumerate(NODES))
    sent: list[dict[str, RecordDict]] = []

    def ask(kind: Any, contents: dict[str, RecordDict], what: str, check: Any, round_: int, again: Any) -> Any:
        reply = Reply(Evaluation(clips=0, figures={}, lacking=True), {})
        sent.append({node: again(node, reply) for node in contents} if lacking else contents)
        return {}

    federation.ask = ask
    spaces = Spaces(audio_tokens=1, audio_width=1, clip_width=1, t5_tokens=1, t5_width=1, audio="a", text="b")
    names = [*(f"local {node}" for node in NODES), "fedavg", "kd"]
    candidates = [(name, {"weight": torch.randn(512, 512), "bias": torch.randn(512)}) for name in names]
    evaluate(federation, MagicMock(), spaces, 1, {"targets": {"clip": torch.zeros(10)}}, candidates, NODES)
    return candidates, sent


def test_a_node_is_sent_less_than_a_tenth_of_all_adapters_in_float32() -> None:
    candidates, contents = messages()
    sent: Counter[str] = Counter()
    for content in contents:
        sent.update({node: sum(r.count_bytes() for r in c.array_records.values()) for node, c in content.items()})
    everything = sum(tensor.nbytes for _, state in candidates for tensor in state.values())
    assert set(sent) == set(NODES) and 0 < max(sent.values()) <= 0.1 * everything


def test_the_aggregated_adapter_and_a_nodes_own_travel_in_half_precision_others_in_8_bits() -> None:
    candidates, contents = messages(lacking=True)
    states = {name: state for content in contents for name, state in unpack(content["3"])[1].items()}
    assert set(states) == {f"candidate.{name}" for name in ("local 3", "local 4", "fedavg", "kd")} | {"targets"}
    for name, state in candidates:
        if f"candidate.{name}" in states:
            received, weight = states[f"candidate.{name}"], state["weight"]
            assert torch.equal(received["bias"], state["bias"].half().float())
            if name in ("kd", "local 3"):
                assert torch.equal(received["weight"], weight.half().float())
            else:
                error = (received["weight"] - weight).abs().amax(1)
                assert bool((error <= weight.abs().amax(1) / 127 * 0.51).all()) and error.max() > 0.001


def test_the_interval_of_local_knows_that_only_some_pairs_of_node_and_adapter_are_scored() -> None:
    """All of a node's clips are right or none, so recordings alone would give an interval of no width."""
    config = compose(["experiment=esc10_10n", "data.root=."])

    def interval(others: float) -> tuple[float, float]:
        answers, record = [], MagicMock()
        for node in NODES:
            right = 10 * (int(node) % 2)
            counts = [[right, 10 - right], [0, 0]]
            sums = Sums(
                confusion=counts, cosine=0, mse=0, margin=0, resampled=[right] * 500, resampled_margin=[0] * 500
            )
            figures = {"local": Branches(clip=sums, t5=sums)}
            answers.append((node, Evaluation(clips=10, figures=figures, recordings=10, resampled=[10.0] * 500)))
        federation = MagicMock(config=config.model_copy(update={"nodes": dict.fromkeys(NODES)}))
        with patch.object(type(config), "classes", ["dog", "rain"]):
            total(federation, record, 1, answers, dict.fromkeys(NODES, others))
        lines = [call.kwargs for call in record.add.call_args_list if call.kwargs["stage"] == "evaluation"]
        assert lines[0]["accuracy"] == 0.5
        return lines[0]["accuracy_interval"]

    low, high = interval(9.0)
    assert 0.1 < low < 0.35 and 0.65 < high < 0.9
    low, high = interval(1.0)  # each node scores all
    assert high - low < 0.061  # the rule of three


@pytest.mark.parametrize("most", [1, 2, 4, 10, 50])
def test_every_own_adapter_is_scored_equally_often_and_first_of_all_by_its_node(most: int) -> None:
    for round_ in (1, 2):
        scored = [scored_by(node, NODES, most, round_) for node in NODES]
        assert all(
            mine[0] == node and len(set(mine)) == min(most, 10) for node, mine in zip(NODES, scored, strict=True)
        )
        assert set(Counter(node for mine in scored for node in mine).values()) == {min(most, 10)}
    assert scored_by("0", ["3", "5"], 1, 1) == ["3"]  # a node whose own adapter was not usable
