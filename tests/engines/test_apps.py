"""What the engines run."""

from __future__ import annotations

import tomllib

from tests.support.project import ROOT
from vegas_fl import engines


def test_engines_load_what_flower_loads() -> None:
    app = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["tool"]["flwr"]["app"]["components"]
    assert app == {"serverapp": engines.SERVER_APP, "clientapp": engines.CLIENT_APP}
