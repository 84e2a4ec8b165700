"""A hub that does not answer is reported at once, and not asked for what is here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.support.hosts import unused_port
from vegas_fl.audio.encoders import ast
from vegas_fl.config import compose
from vegas_fl.core import hub
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import flux

COMMIT = "0" * 40


@pytest.fixture
def dead_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a hub that is not there; the cache is a folder of the test."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused_port()}")
    hub.problem.cache_clear()
    hub._snapshot.cache_clear()
    yield constants.ENDPOINT
    hub.problem.cache_clear()
    hub._snapshot.cache_clear()


def test_a_hub_that_does_not_answer_is_told_at_once(dead_hub: str) -> None:
    start = time.monotonic()
    with pytest.raises(VegasError, match=f"{dead_hub} does not answer: .*; download it first"):
        ast.locate("owner/ast", COMMIT)
    renderer = compose(["renderer.model=owner/flux"]).renderer
    with pytest.raises(VegasError, match=f"{dead_hub} does not answer") as told:
        flux.text_shape(renderer)
    assert "outgoing traffic" not in str(told.value)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("revision", [COMMIT, None])
def test_what_is_here_needs_no_hub(dead_hub: str, revision: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "models--owner--ast" / "snapshots" / COMMIT
    (tmp_path / "models--owner--ast" / "refs").mkdir(parents=True)
    (tmp_path / "models--owner--ast" / "refs" / "main").write_text(COMMIT)
    folder.mkdir(parents=True)
    for name in ast.FILES:
        (folder / name).write_text("{}")
    assert ast.locate("owner/ast", revision) == folder


def test_a_setting_that_forbids_the_hub_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.problem.cache_clear()
    assert hub.problem() == "HF_HUB_OFFLINE is set"
