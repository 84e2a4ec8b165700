"""The loop that draws a folder: batches of mixed classes, encoded and written while the next one is drawn."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from vegas_fl.config import Config, RendererConfig
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import nearest_existing
from vegas_fl.rendering.folder import Picture, PictureFolder
from vegas_fl.rendering.jobs import Job
from vegas_fl.rendering.painter import Painter, painter
from vegas_fl.rendering.runfile import write_runfile
from vegas_fl.rendering.sheets import contact_sheet, sheet_path

if TYPE_CHECKING:
    from PIL.Image import Image

AHEAD = 2
"""Batches that may wait to be written: what keeps memory flat when the disk is slower than FLUX."""
PATIENCE = 3
"""A request to a node that loads the models anew takes at least so many times as long as that took."""


@dataclass(frozen=True)
class Drawn:
    """How far a folder is: pictures there, pictures made just now and in how many seconds, once the models were
    loaded, and pictures still missing."""

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
    patient: bool = False,
    show: bool = False,
) -> Drawn:
    """Draw what is missing of a job's pictures, and their contact sheet once none is.

    Parameters
    ----------
    job : Job
    config : Config
        Its renderer draws; the columns of the contact sheet.
    device : str
    overwrite : bool
        Make all anew.
    seconds : float, optional
        Start no batch after so many seconds; at least one is drawn.
    patient : bool
        If loading the models took long, draw longer than ``seconds``: for a node that loads them for each request.
    show : bool
        A progress bar, with pictures a second and the time that is left.

    Raises
    ------
    VegasError
        The folder holds other pictures, memory or disk do not suffice, or an embedding cannot be used. What was
        drawn before stays.
    """
    begin = time.monotonic()
    renderer, columns = config.renderer, config.images.sheet_columns
    folder = job.folder(renderer)
    pending = folder.pending(job.pictures, overwrite)
    write_runfile(job, config)  # not before the folder is known to be of this run
    done, drawing = 0, 0.0
    count, there = len(job.pictures), len(job.pictures) - len(pending)
    with tqdm(total=count, initial=there, desc=job.name, unit="picture", mininterval=1, disable=not show) as bar:
        if pending:
            brush = painter(renderer, device)
            loaded = time.monotonic()
            bar.unpause()  # its rate is of drawing
            if seconds is not None and patient:
                seconds = max(seconds, PATIENCE * (loaded - begin))
            with devices.threads(drawing_threads(renderer)), Writer(folder, brush, len(pending), bar.update) as writer:
                for start in range(0, len(pending), renderer.batch_size):
                    if start and seconds is not None and time.monotonic() - begin > seconds:
                        break
                    batch = pending[start : start + renderer.batch_size]
                    images = brush.paint(job.feed(batch), [picture.seed for picture in batch])
                    writer.add(batch, images)
                    done += len(batch)
            drawing = time.monotonic() - loaded
    missing = len(pending) - done
    if columns and not missing:
        contact_sheet(folder.path, job.pictures, columns, sheet_path(folder.path))
    return Drawn(count - missing, done, missing, drawing)


def drawing_threads(renderer: RendererConfig) -> int:
    """CPU threads that draw."""
    return renderer.threads or devices.cores()


class Writer:
    """Encodes and writes batches on a thread of its own, in order; leaving the block waits for them.

    Parameters
    ----------
    folder : PictureFolder
    brush : Painter
        Whose batch size and memory mode the manifest tells.
    total : int
        Pictures that will come: whether the disk has room for them is asked after the first batch.
    progress : callable
    """

    def __init__(self, folder: PictureFolder, brush: Painter, total: int, progress: Callable[[int], object]) -> None:
        self._folder, self._brush, self._total, self._progress = folder, brush, total, progress
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")
        self._waiting: deque[Future[None]] = deque()
        self._bytes = self._written = 0

    def __enter__(self) -> Writer:
        return self

    def add(self, pictures: Sequence[Picture], images: Sequence[Image]) -> None:
        """Take a batch; waits if too many do."""
        brush = self._brush
        drawn: dict[str, object] = {"batch": brush.batch, "memory": brush.mode, "device": brush.device}
        if brush.config.compile:
            drawn["compiled"] = True
        if brush.device == "cpu":
            drawn["threads"] = torch.get_num_threads()
        self._waiting.append(self._thread.submit(self._write, list(pictures), list(images), drawn))
        while len(self._waiting) > AHEAD or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            while self._waiting:
                self._waiting.popleft().result()
        except VegasError:
            if error is None:  # else what stopped the drawing is told
                raise
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def _write(self, pictures: list[Picture], images: list[Image], drawn: dict[str, object]) -> None:
        first = not self._written
        for picture, image in zip(pictures, images, strict=True):
            self._bytes += self._folder.save(picture, image, **drawn)
            self._written += 1
            self._progress(1)
        if first:
            check_room(self._folder.path, self._total - self._written, self._bytes / self._written)


def check_room(folder: Path, pictures: int, bytes_each: float) -> None:
    """Refuse what the disk has no room for.

    Raises
    ------
    VegasError
        ``pictures`` of ``bytes_each`` do not fit into what is free where ``folder`` is.
    """
    needed, free = pictures * bytes_each, shutil.disk_usage(nearest_existing(folder)).free
    if needed > free:
        raise VegasError(
            f"{folder}: {pictures} pictures more need about {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; free "
            "the disk, draw fewer (nodes.N.samples_per_node), or choose another images_output_dir"
        )
