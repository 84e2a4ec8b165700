"""Replies that cannot be used are dropped by name; below the quorum the run stops with a sentence."""

import gc
import json
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from vegas_fl.config import Config, compose
from vegas_fl.core.errors import VegasError
from vegas_fl.engines.inprocess import InProcessGrid
from vegas_fl.federation.exchange import size
from vegas_fl.federation.messages import Description, Request, Values
from vegas_fl.federation.nodes import Federation
from vegas_fl.federation.wire import Reply, pack, unpack
from vegas_fl.storage.tensorfiles import misfit

Answer = Callable[[str, Message], Message]
GOOD = {"w": torch.ones(2)}
AUDIO = {"tokens": 8, "width": 4, "fingerprint": "x"}
DESCRIPTION = {"train": {"dog": 1}, "val": {}, "test": {}, "notes": {}, "manifest": {}, "audio": AUDIO}


class Ask(Request[Values]):
    """A request that any reply answers."""

    kind = "train.adapter"
    reply = Values


def good(node: str, message: Message) -> Message:
    return Message(pack({"node": node}, {"model": GOOD}), reply_to=message)


def sends(state: dict[str, torch.Tensor]) -> Answer:
    return lambda node, message: Message(pack({"node": node}, {"model": state}), reply_to=message)


def raises(node: str, message: Message) -> Message:
    raise RuntimeError("boom")


def nonsense(node: str, message: Message) -> Message:
    return Message(RecordDict(), reply_to=message)


def gives_up(node: str, message: Message) -> Message:
    return Message(pack({"node": node, "problem": "the disk is full"}), reply_to=message)


def federation(
    train: dict[str, Answer], nodes: int = 3, min_nodes: int | None = None, timeout: float = 60
) -> Federation:
    app = ClientApp()

    @app.query("describe")
    def _describe(message: Message, context: Context) -> Message:
        values = DESCRIPTION | {"node": str(context.node_config["partition-id"])}
        return Message(pack(values), reply_to=message)

    @app.train("adapter")
    def _train(message: Message, context: Context) -> Message:
        node = str(context.node_config["partition-id"])
        return train.get(node, good)(node, message)

    entries = [f"nodes.{i}={{selected_classes: [dog], samples_per_node: 1}}" for i in range(nodes)]
    settings = [f"federation.min_nodes={'null' if min_nodes is None else min_nodes}", f"federation.timeout={timeout}"]
    config: Config = compose([*entries, *settings])
    made = Federation(InProcessGrid(app, nodes), config)
    made.gather()
    return made


def ask(made: Federation) -> dict[str, Reply[Values]]:
    def check(node: str, reply: Reply[Values]) -> str | None:
        return misfit(reply.states.get("model", {}), GOOD)

    return made.ask(Ask, dict.fromkeys(made.nodes.values(), Ask().content(made.config)), "adapters", check)


def test_replies_come_in_the_order_of_the_nodes() -> None:
    assert list(ask(federation({}, nodes=12))) == [str(i) for i in range(12)]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (raises, "RuntimeError: boom"),
        (gives_up, "the disk is full"),
        (nonsense, "unreadable reply (KeyError"),
        (sends({"w": torch.tensor([1.0, float("nan")])}), "not finite"),
        (sends({"w": torch.ones(3)}), "expected [2]"),
        (sends({"v": torch.ones(2)}), "lacks w"),
        (sends({"w": torch.ones(2, dtype=torch.float64)}), "float64"),
    ],
)
def test_a_bad_reply_is_dropped_by_name(answer: Answer, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert list(ask(federation({"1": answer}, min_nodes=2))) == ["0", "2"]
    assert "node 1" in caplog.text and reason in caplog.text


@pytest.mark.parametrize("answer", [raises, gives_up, nonsense, sends({})])
def test_below_the_quorum_all_reasons_are_told(answer: Answer) -> None:
    with pytest.raises(VegasError) as error:
        ask(federation({"0": answer, "2": answer}, min_nodes=2))
    text = str(error.value)
    assert "1 of 3 nodes" in text and "expected 2" in text
    assert "node 0:" in text and "node 2:" in text and "node 1:" not in text


def test_by_default_every_node_is_needed() -> None:
    with pytest.raises(VegasError, match="2 of 3 nodes"):
        ask(federation({"1": raises}))


def test_who_sends_what_cannot_be_used_is_needed_no_more() -> None:
    answers = {"1": sends({})}
    made = federation(answers)
    assert list(ask(made)) == ["0", "2"]
    answers["1"] = raises
    made.muster()
    assert list(ask(made)) == ["0", "2"]
    answers["2"] = gives_up
    with pytest.raises(VegasError, match="1 of 3 nodes sent a usable reply, expected 2"):
        ask(made)
    del answers["1"]
    with pytest.raises(VegasError, match="2 of 3 nodes sent a usable reply, expected 3"):
        ask(made)


def test_half_of_the_nodes_do_not_outvote_the_other_half() -> None:
    with pytest.raises(VegasError, match="1 of 2 nodes sent a usable reply, expected 2"):
        ask(federation({"1": sends({})}, nodes=2))


def test_too_few_nodes_are_not_waited_for_forever() -> None:
    config = compose(["federation.wait=0.3"])
    with pytest.raises(VegasError, match="1 of 2 nodes registered within 0.3 s"):
        Federation(InProcessGrid(ClientApp(), 1), config).gather()


def test_a_node_that_cannot_take_part_stops_the_run_before_it_starts() -> None:
    app = ClientApp()

    @app.query("describe")
    def _describe(message: Message, context: Context) -> Message:
        return gives_up(str(context.node_config["partition-id"]), message)

    with pytest.raises(VegasError, match="nothing was trained.\n- the disk is full"):
        Federation(InProcessGrid(app, 2), compose()).gather()


def described(audio: dict[str, dict[str, Any]], min_nodes: int) -> dict[str, Description]:
    """What three nodes of one class say; some embed audio differently."""
    app = ClientApp()

    @app.query("describe")
    def _describe(message: Message, context: Context) -> Message:
        node = str(context.node_config["partition-id"])
        return Message(pack(DESCRIPTION | {"node": node, "audio": AUDIO | audio.get(node, {})}), reply_to=message)

    entries = [f"nodes.{i}={{selected_classes: [dog], samples_per_node: 1}}" for i in range(3)]
    return Federation(InProcessGrid(app, 3), compose([*entries, f"federation.min_nodes={min_nodes}"])).gather()


@pytest.mark.parametrize("odd", ["0", "1", "2"])
def test_a_node_that_embeds_audio_differently_from_most_is_left_out(odd: str, caplog: pytest.LogCaptureFixture) -> None:
    assert set(described({odd: {"fingerprint": "other"}}, 2)) == {"0", "1", "2"} - {odd}
    assert f"starting without a node: node {odd} embeds audio differently" in caplog.text
    with pytest.raises(VegasError, match=f"nothing was trained.\n- node {odd} embeds audio differently"):
        described({odd: {"fingerprint": "other"}}, 3)


def test_values_and_tensors_survive_a_message() -> None:
    values, states = unpack(pack({"a": [1, {"b": None}]}, {"m": {"x": torch.arange(3.0)}}))
    assert values == json.loads('{"a": [1, {"b": null}]}')
    assert torch.equal(states["m"]["x"], torch.arange(3.0))


def test_half_precision_is_for_the_way_alone_and_never_overflows() -> None:
    state = {
        "small": torch.linspace(-3.0, 3.0, 1000),
        "large": torch.tensor([1e5, 1.0]),
        "count": torch.tensor([70_000]),
    }
    content = pack({}, {"m": state}, "float16")
    _, states = unpack(content)
    found = states["m"]
    assert found["small"].dtype == torch.float32 and torch.equal(found["small"], state["small"].half().float())
    assert torch.equal(found["large"], state["large"]) and torch.equal(found["count"], state["count"])
    assert size(content) < size(pack({}, {"m": state}))


def test_a_second_answer_and_one_nobody_asked_for_are_ignored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = federation({})
    pull = made.grid.pull_messages
    monkeypatch.setattr(made.grid, "pull_messages", lambda ids: [m for m in pull(ids) for _ in range(2)])
    assert list(ask(made)) == ["0", "1", "2"]
    assert "ignored a second reply of node 0" in caplog.text


def test_a_late_answer_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a node sends after the round's time is no answer to the next round."""
    made = federation({}, min_nodes=2, timeout=0.3)
    pull = made.grid.pull_messages
    late = []

    def slow(ids: set[str]) -> list[Message]:
        replies = list(pull(ids))
        late.extend(m for m in replies if made.nodes[m.metadata.src_node_id] == "1")
        return [m for m in replies if m not in late]

    monkeypatch.setattr(made.grid, "pull_messages", slow)
    assert list(ask(made)) == ["0", "2"]
    monkeypatch.setattr(made.grid, "pull_messages", lambda ids: [*late, *pull(ids)])
    made.config = made.config.model_copy(
        update={"federation": made.config.federation.model_copy(update={"timeout": 60})}
    )
    messages = made.messages(Ask, {"0": Ask().content(made.config)})
    kept = made.accept(Ask, made.exchange(messages), "x", lambda n, r: None, lambda n, r: n)
    assert list(kept) == ["0"]


def test_nodes_are_told_the_resolved_configuration() -> None:
    heard = []

    def listens(node: str, message: Message) -> Message:
        heard.append(unpack(message.content)[0]["config"]["run"])
        return good(node, message)

    ask(federation(dict.fromkeys("012", listens)))
    assert heard == ["demo"] * 3


def test_a_node_that_does_not_answer_counts_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    made = federation({}, min_nodes=2, timeout=0.5)
    pull = made.grid.pull_messages
    first, *_ = made.nodes
    monkeypatch.setattr(
        made.grid, "pull_messages", lambda ids: [m for m in pull(ids) if m.metadata.src_node_id == first]
    )
    with pytest.raises(VegasError, match="no reply within"):
        ask(made)


def test_an_answer_may_be_dropped_before_the_next_one_comes() -> None:
    """So that the server's memory does not grow with the nodes."""
    made, alive = federation({}, nodes=4), []

    def keep(node: str, reply: Reply[Values]) -> str:
        gc.collect()
        assert sum(reference() is not None for reference in alive) == 0
        alive.append(weakref.ref(reply.states["model"]["w"]))
        return node

    messages = made.messages(Ask, dict.fromkeys(made.nodes.values(), Ask().content(made.config)))
    kept = made.accept(Ask, made.exchange(messages), "adapters", lambda node, reply: None, keep)
    assert list(kept.values()) == ["0", "1", "2", "3"]
