"""The loop that draws a folder: batches of mixed classes, encoded and written while the next ones are drawn."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vegas_fl.config import Config, RendererConfig
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import nearest_existing
from vegas_fl.core.progress import Progress
from vegas_fl.rendering.folder import Picture, PictureFolder
from vegas_fl.rendering.jobs import Job
from vegas_fl.rendering.painter import Painter, painter, rendering_threads
from vegas_fl.rendering.runfile import write_runfile
from vegas_fl.rendering.sheets import contact_sheet, sheet_path
from vegas_fl.storage.provenance import MadeBy

if TYPE_CHECKING:
    from PIL.Image import Image

AHEAD = 2
"""Most batches that wait to be written: bounds the memory when the disk is slower than FLUX."""
ENCODERS = 16
"""Most threads that compress pictures: one manages about 20 a second of 512x512."""


@dataclass(frozen=True)
class RenderResult:
    """The state of a folder after rendering.

    Attributes
    ----------
    there : int
        Pictures in the folder.
    new : int
        Those that were drawn by this call.
    missing : int
        Pictures still to be drawn.
    seconds : float
        Drawing time of the new pictures, without loading the models.
    """

    there: int
    new: int
    missing: int
    seconds: float = 0.0


def render(
    job: Job,
    config: Config,
    device: str,
    *,
    overwrite: bool = False,
    seconds: float | None = None,
    load: Callable[[RendererConfig, str], Painter] = painter,
    show: bool = False,
) -> RenderResult:
    """Draw the missing pictures of a job, and their contact sheet once none is missing.

    Parameters
    ----------
    job : Job
    config : Config
    device : str
    overwrite : bool
        Draw all pictures again.
    seconds : float, optional
        Start no batch this long after the models are loaded; at least one is drawn.
    load : callable
        Gives the painter.
    show : bool
        Show the progress.

    Raises
    ------
    VegasError
        The folder holds other pictures, memory or disk is too small, or an embedding or a picture is invalid. The
        pictures drawn before are kept.
    """
    renderer, columns = config.renderer, config.images.sheet_columns
    folder = job.folder(renderer)
    pending = folder.pending(job.pictures, overwrite)
    write_runfile(job, config)  # only once the folder is known to belong to this run
    done, drawing = 0, 0.0
    count, there = len(job.pictures), len(job.pictures) - len(pending)
    with Progress("pictures", job.name, count, "picture", there, show) as progress:
        if pending:
            brush = load(renderer, device)
            loaded = time.monotonic()
            with rendering_threads(renderer), Writer(folder, brush, job.adapter, len(pending), progress.add) as writer:
                size = brush.batch if renderer.batch_size == "auto" else renderer.batch_size
                for start in range(0, len(pending), size):
                    if start and seconds is not None and time.monotonic() - loaded > seconds:
                        break
                    batch = pending[start : start + size]
                    names = [f"{job.name}, class {picture.label}, {picture.name}" for picture in batch]
                    images = brush.paint(job.feed(batch), [picture.seed for picture in batch], names)
                    writer.add(batch, images)
                    done += len(batch)
            drawing = time.monotonic() - loaded
    missing = len(pending) - done
    if columns and not missing:
        contact_sheet(folder.path, job.pictures, columns, sheet_path(folder.path))
    return RenderResult(count - missing, done, missing, drawing)


class Writer:
    """Encodes pictures in several threads, and writes them in one, in order; leaving the block waits for them.

    Parameters
    ----------
    folder : PictureFolder
    brush : Painter
        Its batch size and memory mode are written to the manifest.
    adapter : dict
        Which adapter draws, also written to it.
    total : int
        Pictures to expect: after the first batch, the disk is checked for room for the rest.
    progress : callable
        Called with 1 for each picture.
    """

    def __init__(
        self,
        folder: PictureFolder,
        brush: Painter,
        adapter: MadeBy,
        total: int,
        progress: Callable[[int], object],
    ) -> None:
        self._adapter, self._folder, self._brush, self._total, self._progress = adapter, folder, brush, total, progress
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")
        self._encoders = ThreadPoolExecutor(min(ENCODERS, devices.cores()), thread_name_prefix="encoder")
        self._waiting: deque[Future[None]] = deque()
        self._bytes = self._written = 0

    def __enter__(self) -> Writer:
        return self

    def add(self, pictures: Sequence[Picture], images: Sequence[Image]) -> None:
        """Add a batch; blocks while too many wait."""
        brush = self._brush
        drawn: dict[str, object] = {"batch": brush.batch, "memory": brush.mode, "device": brush.device}
        if brush.config.compile:
            drawn["compiled"] = True
        if brush.device == "cpu":
            drawn["threads"] = torch.get_num_threads()
        if self._adapter:
            drawn["adapter"] = self._adapter
        encoded = [
            self._encoders.submit(self._folder.encoded, picture, image)
            for picture, image in zip(pictures, images, strict=True)
        ]
        self._waiting.append(self._thread.submit(self._write, list(pictures), encoded, drawn))
        while len(self._waiting) > AHEAD or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            while self._waiting:
                self._waiting.popleft().result()
        except VegasError:
            if error is None:  # else the error that stopped the drawing is raised
                raise
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._encoders.shutdown(wait=True, cancel_futures=True)

    def _write(self, pictures: list[Picture], encoded: list[Future[bytes]], drawn: dict[str, object]) -> None:
        first = not self._written
        for picture, data in zip(pictures, encoded, strict=True):
            self._bytes += self._folder.save(picture, data.result(), **drawn)
            self._written += 1
            self._progress(1)
        if first:
            needed = (self._total - self._written) * self._bytes / self._written
            if short := shortage([(self._folder.path, needed)]):
                raise VegasError(short[0])


def shortage(needs: Iterable[tuple[Path, float]]) -> list[str]:
    """Disks without room for pictures, as sentences; ``needs`` are (folder, bytes), and a folder need not exist."""
    disks: dict[int, tuple[Path, float]] = {}
    for folder, size in needs:
        place = nearest_existing(folder)
        disk = place.stat().st_dev
        disks[disk] = place, disks.get(disk, (place, 0.0))[1] + size
    return [
        f"the pictures need about {size / 1e6:.0f} MB more, but {free / 1e6:.0f} MB are free in {place}; free the "
        "disk, draw fewer (nodes.N.samples_per_node), or choose another images_output_dir"
        for place, size in disks.values()
        if size > (free := shutil.disk_usage(place).free)
    ]
