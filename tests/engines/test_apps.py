"""What the engines run."""

from __future__ import annotations

import tomllib

import pytest

from tests.support.project import ROOT
from vegas_fl import engines
from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.engines import flower


def test_engines_load_what_flower_loads() -> None:
    app = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["tool"]["flwr"]["app"]["components"]
    assert app == {"serverapp": engines.SERVER_APP, "clientapp": engines.CLIENT_APP}


def sizes(*overrides: str) -> dict[str, str]:
    (_, options) = flower._simulation(compose(["engine=flower", *overrides]))
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
    monkeypatch.setattr(flower, "gpus", lambda: here)
    found = sizes(*overrides)
    assert float(found["client-resources-num-gpus"]) == share
    assert found["init-args-num-gpus"] == str(all_of_them)  # Flower takes whole ones only


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["engine.gpus_per_node=2"], "engine.gpus_per_node=2, but this machine has 1 GPUs"),
        (["engine.gpus_per_node=0.5", "device=cpu"], "this machine has 0 GPUs that torch can use with device=cpu"),
        (["device=cuda:0"], "device=cuda:0 names one GPU"),
    ],
)
def test_gpus_that_nodes_cannot_have(monkeypatch: pytest.MonkeyPatch, overrides: list[str], said: str) -> None:
    monkeypatch.setattr(flower, "gpus", lambda: 1)
    with pytest.raises(VegasError, match=said):
        sizes(*overrides)
