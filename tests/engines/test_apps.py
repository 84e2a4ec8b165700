"""What the engines run."""

from __future__ import annotations

import tomllib

import pytest

from tests.support.project import ROOT
from vegas_fl import engines
from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.engines import flower
from vegas_fl.rendering import flux
from vegas_fl.rendering.plan import node_bytes


def test_engines_load_what_flower_loads() -> None:
    app = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["tool"]["flwr"]["app"]["components"]
    assert app == {"serverapp": engines.SERVER_APP, "clientapp": engines.CLIENT_APP}


GB = 10**9


def sizes(*overrides: str, node: float = 40 * GB) -> dict[str, str]:
    (_, options) = flower._simulation(compose(["engine=flower", *overrides]), lambda config: node)
    return dict(item.split("=") for item in options.split())


@pytest.mark.parametrize(
    ("here", "overrides", "share", "all_of_them"),
    [
        (0, [], 0, 0),
        (2, [], 1, 2),
        (2, ["engine.gpus_per_node=0.25"], 0.25, 2),
        (1, ["engine.gpus_per_node=0"], 0, 1),
        (1, ["device=cpu"], 0, 0),
    ],
)
def test_simulated_nodes_share_the_machines_gpus(
    monkeypatch: pytest.MonkeyPatch, here: int, overrides: list[str], share: float, all_of_them: int
) -> None:
    """Ray shows an actor no GPU that it was not promised."""
    monkeypatch.setattr(flower, "gpus", lambda: [80 * GB] * here)
    found = sizes(*overrides)
    assert float(found["client-resources-num-gpus"]) == share
    assert found["init-args-num-gpus"] == str(all_of_them)  # Flower takes whole ones only


@pytest.mark.parametrize(
    ("cards", "nodes", "need", "share"),
    [
        ([80], 10, 33, 0.5),  # two fit
        ([80], 10, 79, 1),  # one, which may have to step its memory down
        ([24], 10, 33, 1),
        ([80], 10, 2, 0.1),  # all fit
        ([80], 10, 11, 0.1666),  # six: Ray's sum stays within 1
        ([80, 80], 3, 20, 0.5),  # two on one card, one on the other
        ([80, 16], 8, 7, 0.5),  # the smallest card decides
        ([80, 80, 80, 80], 3, 2, 1),  # a card for each
    ],
)
def test_as_many_nodes_share_a_gpu_as_fit(
    monkeypatch: pytest.MonkeyPatch, cards: list[int], nodes: int, need: float, share: float
) -> None:
    monkeypatch.setattr(flower, "gpus", lambda: [card * GB for card in cards])
    own = [f"nodes.{i}={{selected_classes: [dog], samples_per_node: 4}}" for i in range(nodes)]
    assert float(sizes(*own, node=need * GB)["client-resources-num-gpus"]) == share


def test_what_a_node_takes_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of what draws, in bfloat16, where its nodes draw."""
    monkeypatch.setattr(flux, "dimensions", lambda renderer: ({"transformer": 24 * GB, "vae": GB // 6}, 3072))
    assert 28 * GB < node_bytes(compose(["renderer=flux_schnell"])) < 40 * GB
    for nothing in ("stages=[generators,adapters]", "images.output=embeddings", "images.where=server"):
        assert node_bytes(compose(["renderer=flux_schnell", nothing])) < 3 * GB


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["engine.gpus_per_node=2"], "engine.gpus_per_node=2, but this machine has 1 GPUs"),
        (["engine.gpus_per_node=0.5", "device=cpu"], "this machine has 0 GPUs that torch can use with device=cpu"),
        (["device=cuda:0"], "device=cuda:0 names one GPU"),
    ],
)
def test_gpus_that_nodes_cannot_have(monkeypatch: pytest.MonkeyPatch, overrides: list[str], said: str) -> None:
    monkeypatch.setattr(flower, "gpus", lambda: [80 * GB])
    with pytest.raises(VegasError, match=said):
        sizes(*overrides)
