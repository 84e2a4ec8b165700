"""The process that keeps a node's models: loaded once for several processes, lost without harm, gone with its node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.support.painting import pixels, prompts, renderer
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import worker
from vegas_fl.rendering.judge import judge
from vegas_fl.rendering.painter import Painter

NODE = "import subprocess, sys\nfor line in sys.stdin: subprocess.run([sys.executable, '-c', line])"
"""A process that starts one for each message, as a SuperNode does."""
MESSAGE = (
    "import hashlib, json, pathlib; from tests.support.painting import pixels, renderer; "
    "from vegas_fl.rendering.worker import Worker; "
    "brush = Worker(pathlib.Path({folder!r})).painter(renderer(**{settings!r}), 'cpu'); "
    "drawn = pixels(brush, 3); "
    "print(json.dumps([drawn[:, ::16, ::16].tolist(), brush.batch, brush.mode, brush.pipeline is None]), flush=True)"
)


class Node:
    """A node whose messages are answered one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "cache" / ("long " * 20) / "worker", folder / "log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", NODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def ask(self, **settings: Any) -> tuple[list[Any], int, str, bool]:
        """Draw three pictures: some of their pixels, batch, memory mode, and whether the models were borrowed."""
        assert self.process.stdin and self.process.stdout
        print(MESSAGE.format(folder=str(self.folder), settings=settings), file=self.process.stdin, flush=True)
        return tuple(json.loads(self.process.stdout.readline()))

    def workers(self) -> list[psutil.Process]:
        return workers(self.folder)

    def loads(self) -> int:
        return self.log.read_text().count("renderer.memory=")


def workers(folder: Path) -> list[psutil.Process]:
    """Those that listen in a folder; of a process that has ended, the command is not known."""
    return [process for process in psutil.process_iter(["cmdline"]) if str(folder) in (process.info["cmdline"] or ())]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


@pytest.mark.slow
def test_models_are_loaded_once_and_draw_the_same(node: Node) -> None:
    own = pixels(Painter(renderer(batch_size=2), "cpu"), 3)[:, ::16, ::16].tolist()
    assert node.ask(batch_size=2) == (own, 2, "full", True)
    (first,) = node.workers()
    begin = time.monotonic()
    assert node.ask(batch_size=2) == (own, 2, "full", True)
    assert node.workers() == [first] and node.loads() == 1, time.monotonic() - begin
    assert (node.folder / worker.SOCKET).stat().st_mode & 0o077 == 0 == node.folder.stat().st_mode & 0o077
    # Other settings: another worker. One that was killed: another worker.
    assert node.ask(batch_size=1, memory="vae_offload")[1:] == (1, "vae_offload", True)
    (second,) = node.workers()
    second.kill()
    assert node.ask(batch_size=2) == (own, 2, "full", True)
    assert second not in node.workers() and node.loads() == 3
    # Killed with SIGKILL, a node leaves nothing behind.
    node.process.kill()
    node.process.wait()
    assert within(5, lambda: not node.workers())


@pytest.mark.slow
def test_without_a_worker_the_models_are_loaded_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker.Worker, "_start", lambda self: subprocess.Popen(["false"]))
    brush = worker.Worker(tmp_path / "worker").painter(renderer(batch_size=2), "cpu")
    assert np.array_equal(pixels(brush, 3), pixels(Painter(renderer(batch_size=2), "cpu"), 3))
    assert "does not answer: they are loaded for this request alone" in caplog.text


@pytest.mark.slow
def test_the_judge_and_mistakes_come_through(tmp_path: Path) -> None:
    pictures = []
    for index in range(3):
        pictures.append((tmp_path / f"{index}.png", "dog"))
        Image.fromarray(np.random.default_rng(index).integers(0, 255, (64, 64, 3), np.uint8)).save(pictures[-1][0])
    client = worker.Worker(tmp_path / "worker")
    try:
        borrowed, own = (judge(pictures, ["dog", "drum"], "pack", "cpu", None, f) for f in (client.features, None))
        assert borrowed.clip_scores.tolist() == pytest.approx(own.clip_scores.tolist(), abs=1e-3)
        with pytest.raises(VegasError, match=r"renderer.judge=.* cannot be opened"):
            judge(pictures, ["dog"], str(tmp_path), "cpu", None, client.features)
        brush = client.painter(renderer(batch_size=2), "cpu")
        with pytest.raises(VegasError, match="clip embeddings are 2 x 9"):
            brush.paint(*prompts(2, clip=9))
    finally:
        for process in workers(tmp_path / "worker"):
            process.kill()


def test_a_worker_ends_when_it_is_not_needed(tmp_path: Path) -> None:
    first = worker.Server(tmp_path, os.getpid())
    assert first._needed()
    second = worker.Server(tmp_path, os.getpid())
    assert second._needed() and not first._needed()
    second._idle_since -= worker.IDLE
    assert not second._needed()
    second._busy = True
    assert second._needed()
    with subprocess.Popen(["sleep", "60"]) as parent:
        orphan = worker.Server(tmp_path, parent.pid)
        orphan._busy = True
        assert orphan._needed()
        parent.kill()
    assert not orphan._needed()
