"""A hub that does not answer is reported at once, and not asked for what is here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

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


REFUSALS = [
    (
        403,
        "GatedRepo",
        "is gated on the hub: accept its licence on .*owner/flux, then log in .hf auth login, or .*HF_TOKEN",
    ),
    (401, "GatedRepo", "is gated on the hub: accept its licence"),
    (401, "", "does not exist on the hub, or is private or gated: .*hf auth login"),
    (404, "RepoNotFound", "does not exist on the hub, or is private or gated: check the name"),
    (404, "RevisionNotFound", f"has no revision {COMMIT} on the hub"),
]


@pytest.fixture
def refusing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, str]]]:
    """A hub on this machine that answers each request with the status and error code in the list."""
    answer: list[tuple[int, str]] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, code = answer[0] if self.path != "/" else (200, "")
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("ENDPOINT", "HUGGINGFACE_CO_URL_TEMPLATE"):
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(
            constants, name, address if name == "ENDPOINT" else address + "/{repo_id}/resolve/{revision}/{filename}"
        )
    hub.problem.cache_clear()
    hub._snapshot.cache_clear()
    yield answer
    server.shutdown()
    hub.problem.cache_clear()
    hub._snapshot.cache_clear()


@pytest.mark.parametrize(("status", "code", "sentence"), REFUSALS)
def test_a_refusal_of_the_hub_says_what_to_do(
    refusing: list[tuple[int, str]], status: int, code: str, sentence: str
) -> None:
    refusing.append((status, code))
    config = compose(["renderer.model=owner/flux", f"renderer.revision={COMMIT}", "renderer.judge=null"])
    for ask in (flux.text_shape, flux.load_pipeline):
        with pytest.raises(VegasError, match=rf"renderer.model=owner/flux is not a folder and {sentence}") as told:
            ask(config.renderer)
        assert "outgoing traffic" not in str(told.value)
    with pytest.raises(VegasError, match=sentence.replace("owner/flux", "owner/ast")):
        ast.locate("owner/ast", COMMIT)
