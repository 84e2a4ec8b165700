"""A process that keeps a node's models loaded: FLUX, and the judge.

In a deployment Flower starts a process for each message, which would load them each time. The first one that draws
starts a worker, as the same user and with the same limits. It listens on a Unix socket that only this user can open,
and ends with the SuperNode, after :data:`IDLE` seconds without work, and when it is asked for another FLUX than it has:
the next one is then started by whoever asked. Messages are a JSON object and tensors; nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from safetensors.torch import load, save

import vegas_fl
from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.config import RendererConfig
from vegas_fl.core import devices, logs
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import judge
from vegas_fl.rendering.painter import Painter, painter, rendering_threads
from vegas_fl.storage.tensorfiles import State

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("vegas_fl.node")

SOCKET = "socket"
IDLE = 300.0
"""Seconds without work after which a worker ends, and frees its memory."""
LOOK = 0.2
"""Seconds between two looks at whether it is still needed."""
START = 120.0
"""Seconds that a worker has to start."""
ATTEMPTS = 3
"""How often a worker is asked, and started if none answers, before this process loads the models itself."""
CODE = str(Path(vegas_fl.__file__).resolve().parents[1])
"""Where this code is: each version of an app that Flower runs is in a folder of its own."""


class Server:
    """The worker's side: listens in ``folder``, and ends with the process ``parent``."""

    def __init__(self, folder: Path, parent: int) -> None:
        self._parent, self._renderer = psutil.Process(parent), ""
        self._busy, self._idle_since = False, time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        own, self._socket = folder / f"{os.getpid()}", folder / SOCKET
        self._listener = socket.socket(socket.AF_UNIX)
        with _short(folder) as place:
            self._listener.bind(f"{place}/{own.name}")
        self._listener.listen()
        self._identity = own.stat().st_ino
        own.replace(self._socket)  # the newest worker takes the place of one before

    def run(self) -> None:
        """Answer until the process ends."""
        threading.Thread(target=self._watch, daemon=True).start()
        while True:
            accepted, _ = self._listener.accept()
            with contextlib.suppress(EOFError, OSError), Connection(accepted.detach()) as connection:
                self._busy = True
                while True:
                    _send(connection, *self._answer(*_receive(connection)))
            self._busy, self._idle_since = False, time.monotonic()

    def _watch(self) -> None:
        while self._needed():
            time.sleep(LOOK)
        os._exit(0)

    def _needed(self) -> bool:
        try:
            if self._parent.status() == psutil.STATUS_ZOMBIE or not self._parent.is_running():
                return False
            return self._busy or (
                time.monotonic() - self._idle_since < IDLE and self._socket.stat().st_ino == self._identity
            )
        except (psutil.Error, OSError):
            return False

    def _answer(self, asked: dict[str, Any], tensors: State) -> tuple[dict[str, Any], State]:
        renderer = json.dumps([asked["renderer"], asked["device"]])
        if asked["code"] != CODE or (asked["renderer"] and self._renderer not in ("", renderer)):
            os._exit(0)  # frees all memory, which deleting the models may not
        try:
            device = devices.resolve_device(asked["device"])
            if not asked["renderer"]:
                features, directions = judge.features(
                    asked["model"], asked["revision"], device, [*map(Path, asked["paths"])], asked["texts"]
                )
                return {}, {"features": features, "directions": directions}
            self._renderer, config = renderer, RendererConfig.model_validate_json(json.dumps(asked["renderer"]))
            brush = painter(config, device)
            with rendering_threads(config):
                images = brush.paint(Conditioning(**tensors), asked["seeds"], asked["names"]) if tensors else []
            drawn = [torch.from_numpy(np.array(image)) for image in images]
            return {"batch": brush.batch, "mode": brush.mode}, {"pictures": torch.stack(drawn)} if drawn else {}
        except VegasError as error:
            return {"problem": str(error)}, {}
        except Exception as error:
            log.exception("the process that keeps the models failed")
            return {"failure": f"{type(error).__name__}: {error}"}, {}


class Worker:
    """The side of those who ask the worker of a ``folder``. Without an answer they load the models themselves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection: Connection | None = None

    def painter(self, config: RendererConfig, device: str) -> Painter:
        """As :func:`vegas_fl.rendering.painter.painter`."""
        return _Borrowed(self, config, device)

    def features(
        self, model: str, revision: str | None, device: str, paths: Sequence[Path], texts: Sequence[str] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As :func:`vegas_fl.rendering.judge.features`."""
        places = [str(path.absolute()) for path in paths]
        asked = {"renderer": None, "model": model, "revision": revision, "paths": places, "texts": [*texts]}
        if (answer := self.ask({**asked, "device": device})) is None:
            return judge.features(model, revision, device, paths, texts)
        return answer[1]["features"], answer[1]["directions"]

    def ask(self, asked: dict[str, Any], tensors: Mapping[str, torch.Tensor] = {}) -> tuple[dict, State] | None:
        """The answer of the worker, which is started where none answers; None if it does not come.

        Raises
        ------
        VegasError
            The worker cannot do it, and neither could this process.
        """
        for attempt in range(ATTEMPTS):
            try:
                if self._connection is None:
                    self._connection = self._connect()
                _send(self._connection, {**asked, "code": CODE}, tensors)
                answer, found = _receive(self._connection)
            except (EOFError, OSError) as error:
                log.info("no answer from the process that keeps the models (%s), attempt %d", error, attempt + 1)
                self._connection = None
                continue
            if "problem" in answer:
                raise VegasError(answer["problem"])
            if "failure" in answer:
                raise RuntimeError(answer["failure"])
            return answer, found
        log.warning("the process that keeps the models does not answer: they are loaded for this request alone")
        return None

    def _connect(self) -> Connection:
        child, end = None, time.monotonic() + START
        while True:
            with contextlib.suppress(OSError), _short(self._folder) as place:
                return Client(f"{place}/{SOCKET}", "AF_UNIX")  # type: ignore[return-value]
            if child is None:
                child = self._start()
            elif child.poll() is not None or time.monotonic() > end:
                raise OSError("it did not start")
            time.sleep(LOOK / 2)

    def _start(self) -> subprocess.Popen[bytes]:
        """Start a worker that outlives this process and ends with the one that started this one: a SuperNode's."""
        path = os.pathsep.join([CODE, *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.Popen(
            [sys.executable, "-m", "vegas_fl.rendering.worker", str(self._folder), str(os.getppid())],
            env=os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


class _Borrowed(Painter):
    """A painter whose models are in the worker, or here once that does not answer."""

    def __init__(self, worker: Worker, config: RendererConfig, device: str) -> None:
        self.config, self.device, self.pipeline, self._worker = config, device, None, worker
        if self._ask() is None:
            super().__init__(config, device)

    def paint(self, conditioning: Conditioning, seeds: Sequence[int], names: Sequence[str] = ()) -> list[Image]:
        from PIL.Image import fromarray

        if self.pipeline is None:
            found = self._ask({"seeds": [*seeds], "names": [*names]}, conditioning._asdict())
            if found is not None:
                return [fromarray(picture.numpy()) for picture in found["pictures"]]
            super().__init__(self.config, self.device)
        return super().paint(conditioning, seeds, names)

    def _ask(self, more: Mapping[str, Any] = {}, tensors: Mapping[str, torch.Tensor] = {}) -> State | None:
        asked = {"renderer": self.config.model_dump(mode="json"), "device": self.device, **more}
        if (answer := self._worker.ask(asked, tensors)) is None:
            return None
        self.batch, self.mode = answer[0]["batch"], answer[0]["mode"]
        return answer[1]


def _send(connection: Connection, values: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    connection.send_bytes(json.dumps(values).encode())
    connection.send_bytes(save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}))


def _receive(connection: Connection) -> tuple[dict[str, Any], State]:
    return json.loads(connection.recv_bytes()), load(connection.recv_bytes())


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A path of this user's folder that is short enough for a socket in it: at most 107 bytes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user")
        place = f"/proc/self/fd/{descriptor}"
        yield place if os.path.isdir(place) else str(folder)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    logs.show(sys.stderr)
    os.umask(0o077)
    Server(Path(sys.argv[1]), int(sys.argv[2])).run()
