"""Checks of `bench gpu` with models of the true size: memory, quantisation, speed, and a whole run."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.benchmarks import standins
from vegas_fl.config import RendererConfig, compose
from vegas_fl.core import devices, seeds
from vegas_fl.rendering import flux, memory
from vegas_fl.rendering.folder import PictureFolder, plan
from vegas_fl.rendering.painter import Painter
from vegas_fl.rendering.render import Writer
from vegas_fl.rendering.text_targets import prompt_targets
from vegas_fl.rendering.verify import CLOSE, psnr

GB = 1e9
CARDS = (8, 12, 16, 24, 48)
SPEEDS = {(512, 1): (18.0, 25.0), (512, 4): (6.0, 8.5), (1024, 4): (1.2, 1.7)}
"""(width and height, steps) → pictures a second expected of an 80 GB card, eager and compiled."""
BATCHES = {512: 16, 1024: 4}
AST_TOKENS = 1214
DISK = 36e9
"""Bytes of FLUX.1 and its text encoders in bfloat16, and some."""


@dataclass(frozen=True)
class Row:
    """What a check measured, what is expected, and whether it is so; None if it could not be measured."""

    what: str
    measured: str
    bar: str
    good: bool | None


@dataclass
class Bench:
    """A device, a folder for what the checks make, and the size of the models: ``small`` ones try the checks
    themselves."""

    device: str
    folder: Path
    small: bool = False
    tried: bool = False

    @cached_property
    def flux(self) -> Path:
        """The folder of a FLUX.1-schnell, made when it is first asked for.

        Raises
        ------
        OSError
            The disk has no room for it, or an earlier attempt to make it was interrupted.
        """
        if self.tried:
            raise OSError("FLUX.1's weights were not made")
        self.tried = True
        if self.small:
            return standins.flux(self.folder / "flux", heads=2)
        if (free := shutil.disk_usage(self.folder).free) < DISK:
            raise OSError(f"{self.folder} has {free / GB:.0f} GB free, {DISK / GB:.0f} GB are needed; set TMPDIR")
        return standins.flux(self.folder / "flux", self.device, 19, 38, 24)

    def renderer(self, *overrides: str) -> RendererConfig:
        """Settings of that FLUX: small pictures in one step, but for ``overrides``."""
        side = 64 if self.small else 512
        sizes = ("renderer.steps=1", f"renderer.height={side}", f"renderer.width={side}", "renderer.batch_size=2")
        return compose(["renderer=flux_schnell", *sizes, *overrides]).renderer.model_copy(
            update={"model": str(self.flux), "judge": None}
        )


def random_conditioning(count: int, shape: tuple[int, int, int]) -> Conditioning:
    """Embeddings of ``count`` pictures: pooled width, tokens and width as :func:`flux.text_shape` gives them."""
    clip, tokens, t5 = shape
    draw = seeds.generator("bench gpu")
    return Conditioning(torch.randn(count, clip, generator=draw), torch.randn(count, tokens, t5, generator=draw))


def painted(brush: Painter, count: int) -> np.ndarray:
    """Pictures ``[count, H, W, 3]``, values from 0 to 255, of random embeddings."""
    images = brush.paint(random_conditioning(count, flux.text_shape(brush.config)), range(count))
    return np.stack([np.asarray(image, dtype=np.float64) for image in images])


def peak(device: str, reset: bool = False) -> float | None:
    """The most GB of GPU memory that torch held since the last reset; None on another device."""
    if not device.startswith("cuda"):
        return None
    found = torch.cuda.max_memory_allocated() / GB
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return found


def _alike(apart: float) -> str:
    return "the same bytes" if apart == np.inf else f"{apart:.1f} dB"


def weights(bench: Bench) -> Iterator[Row]:
    """FLUX.1's weights at random, on the disk."""
    begin = time.perf_counter()
    made = sum(path.stat().st_size for path in bench.flux.rglob("*.safetensors")) / GB
    yield Row("made on the device, stored", f"{made:.1f} GB in {time.perf_counter() - begin:.0f} s", "made", True)


def memory_modes(bench: Bench) -> Iterator[Row]:
    """Every memory mode draws the same pictures, in the memory that was estimated."""
    plain = None
    for mode in memory.rungs(bench.renderer(), bench.device):
        devices.release(bench.device)
        peak(bench.device, reset=True)
        config = bench.renderer(f"renderer.memory={mode}")
        brush = Painter(config, bench.device)
        pictures = painted(brush, 2)
        plain = pictures if plain is None else plain
        ratio = psnr(pictures, plain)
        yield Row(f"{mode}, its pictures", _alike(ratio), f">= {CLOSE['bfloat16']:g} dB", ratio >= CLOSE["bfloat16"])
        sizes, width = flux.dimensions(config)
        # Of what streams, two blocks are on the GPU.
        streamed = {"group_offload": 0.94, "sequential": 1.0}.get(mode, 0.0)
        expected = memory.Needs.of(config, sizes, width).bytes(brush.batch, mode, streamed) / GB
        used = peak(bench.device)
        said = "no GPU memory to read" if used is None else f"{used:.1f} GB"
        low = 0.0 if mode == "sequential" else 0.85  # it is the last resort: nothing depends on how little it takes
        close = None if used is None else low * expected <= used <= 1.15 * expected
        yield Row(f"{mode}, peak memory", said, f"{low * expected:.1f} to {1.15 * expected:.1f} GB", close)
        del brush


def cards(bench: Bench) -> Iterator[Row]:
    """Cards with less memory, imitated: what `auto` chooses for them is enough."""
    cuda = bench.device.startswith("cuda")
    for card in CARDS[:1] if bench.small else CARDS:
        limit = card * 2**30 - memory.RESERVE
        config = bench.renderer("renderer.memory=auto", *([] if bench.small else ["renderer.batch_size=auto"]))
        with patch.object(devices, "free_bytes", lambda device, limit=limit: int(limit)):
            sizes, width = flux.dimensions(config)
            choice = memory.choose(config, bench.device, sizes, int(limit), width)
            devices.release(bench.device)
            if cuda:
                whole = torch.cuda.get_device_properties(bench.device).total_memory
                torch.cuda.set_per_process_memory_fraction(min(1.0, limit / whole))
            try:
                brush = Painter(config, bench.device)
                painted(brush, brush.batch)
                kept = (brush.mode, brush.batch, brush._streamed) == (choice.mode, choice.batch, choice.streamed)
                said = f"{choice.mode}, {100 * choice.streamed:.0f} % streamed, {choice.batch} at once"
                said += "" if kept else f"; retreated to {brush.mode}, {brush.batch} at once"
                del brush
            except Exception as error:
                said, kept = f"{type(error).__name__}: {error}"[:300], False
            finally:
                if cuda:
                    torch.cuda.set_per_process_memory_fraction(1.0)
        yield Row(f"a card of {card} GB", said, "draws without a retreat", kept if cuda else None)


def quantised(bench: Bench) -> Iterator[Row]:
    """Quantised weights draw, in less memory."""
    plain = painted(Painter(bench.renderer("renderer.memory=full"), bench.device), 2)
    for kind in ("fp8", "int8"):
        config = bench.renderer("renderer.memory=full").model_copy(update={"quantization": kind})
        if problem := memory.quantization_problem(config):
            yield Row(kind, problem, "draws", None)
            continue
        devices.release(bench.device)
        peak(bench.device, reset=True)
        try:
            ratio = psnr(painted(Painter(config, bench.device), 2), plain)
        except Exception as error:
            yield Row(kind, f"{type(error).__name__}: {error}"[:300], "draws", False)
            continue
        used = peak(bench.device)
        said = f"{ratio:.1f} dB to bfloat16" + ("" if used is None else f", {used:.1f} GB")
        yield Row(kind, said, "draws in <= 17 GB", None if used is None else used <= 17)


def text_targets(bench: Bench) -> Iterator[Row]:
    """The text encoders fit on small cards, and are freed."""
    devices.release(bench.device)
    before = torch.cuda.memory_allocated() / GB
    peak(bench.device, reset=True)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=bench.folder) as cache:
        found = prompt_targets(["a dog", "a chainsaw"], bench.renderer(), Path(cache), bench.device)
    used, seconds = peak(bench.device), time.perf_counter() - begin
    said = f"{tuple(found.t5.shape)} in {seconds:.1f} s" + ("" if used is None else f", {used:.1f} GB")
    yield Row("peak memory", said, "<= 11 GB", None if used is None else used <= 11)
    devices.release(bench.device)
    left = torch.cuda.memory_allocated() / GB - before
    yield Row("memory afterwards", f"{left:.2f} GB", "<= 0.1 GB", None if used is None else left <= 0.1)


def audio(bench: Bench) -> Iterator[Row]:
    """AST on clips of ten seconds, all its tokens."""
    from vegas_fl.audio.encoders.ast import AstEncoder

    encoder = AstEncoder(standins.ast(bench.folder / "ast"), AST_TOKENS, bench.device, batch_size=32)
    count = 2 if bench.small else 128
    clips = list(np.random.default_rng(0).standard_normal((count, 10 * encoder.rate), dtype=np.float32))
    encoder.encode(clips[:32])
    begin = time.perf_counter()
    encoder.encode(clips)
    rate = count / (time.perf_counter() - begin)
    yield Row(f"AST-base, {AST_TOKENS} tokens", f"{rate:.1f} clips/s", ">= 100", rate >= 100)


def whole_run(bench: Bench) -> Iterator[Row]:
    """Two nodes from recordings to judged pictures with AST, FLUX.1 and CLIP at their true size."""
    encoder, judge = standins.ast(bench.folder / "run-ast"), standins.judge(bench.folder / "judge")
    side = 64 if bench.small else 512
    settings = [
        *("encoder=ast", "adapter=attention", "renderer=flux_schnell", f"encoder.model={encoder}"),
        *(f"renderer.model={bench.flux}", f"renderer.judge={judge}", "renderer.steps=1", f"renderer.height={side}"),
        *(f"renderer.width={side}", "generator.prior_components=1", "adapter.local_epochs=2", "aggregation.epochs=2"),
        *("generator.epochs=2", "aggregation.samples_per_class=8", "data.clips_per_class=8"),
    ]
    yield _run(bench, "gpu", settings, "AST, FLUX.1 and CLIP")


def simulation(bench: Bench) -> Iterator[Row]:
    """Two nodes of Flower's simulation, which refuse to run where they see no GPU."""
    import flwr  # noqa: F401

    yield _run(bench, "flower", ["engine=flower"], "two nodes with the tiny pack")


def _run(bench: Bench, name: str, settings: list[str], what: str) -> Row:
    """``experiment=demo`` in a process of its own; its four pictures must be there."""
    place = bench.folder / name
    place.mkdir()
    more = ["experiment=demo", f"run={name}", "samples_per_node=2", f"paths.cache={place / 'cache'}"]
    command = [sys.executable, "-m", "vegas_fl", *more, *settings, f"device={bench.device}"]
    # Where the package is not installed, its folder is on the path.
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
    begin = time.perf_counter()
    done = subprocess.run(
        command, cwd=place, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}
    )  # ends with the check's time: subprocess.run kills it
    drawn = len(list((place / "output_images" / name).rglob("node_*/*.png")))
    said = f"{drawn} pictures in {time.perf_counter() - begin:.0f} s"
    if done.returncode:
        said += "; " + " ".join((done.stderr or done.stdout).split())[-300:]
    return Row(what, said, "4 pictures", done.returncode == 0 and drawn == 4)


def speed(bench: Bench) -> Iterator[Row]:
    """Pictures a second with PNG files on the disk, eager and compiled."""
    brush = Painter(bench.renderer("renderer.memory=full"), bench.device)
    for compiled in (False, True):
        if compiled:
            brush.pipeline.transformer.compile_repeated_blocks(fullgraph=True)
        for (size, steps), goals in SPEEDS.items():
            side = size // 16 if bench.small else size
            brush.config = bench.renderer(*(f"renderer.{key}={side}" for key in ("height", "width"))).model_copy(
                update={"steps": steps}
            )
            brush.batch = 1 if bench.small else BATCHES[size]
            torch.compiler.reset()  # each size is compiled as a run of its own would
            peak(bench.device, reset=True)
            rate, busy = _rate(brush, bench.folder, 1 if bench.small else 64 // steps)
            what = f"{size}x{size}, {steps} steps, {'compiled' if compiled else 'eager'}"
            used = peak(bench.device)
            said = f"{rate:.2f} pictures/s" + ("" if used is None else f", {used:.1f} GB")
            yield Row(what, said, f">= {goals[compiled]:g}", rate >= goals[compiled])
            said = "nvidia-smi cannot be read" if busy is None else f"{busy:.0f} %"
            yield Row(f"{what}: GPU busy", said, ">= 85 %", None if busy is None else busy >= 85)


def _rate(brush: Painter, scratch: Path, batches: int) -> tuple[float, float | None]:
    """Pictures a second, after one batch that warms up; and how busy the GPU was meanwhile, in percent."""
    count = brush.batch
    embeddings = random_conditioning(count, flux.text_shape(brush.config))
    brush.paint(embeddings, range(count))
    with tempfile.TemporaryDirectory(dir=scratch) as place, _busy() as samples:
        folder = PictureFolder(Path(place), {"dog": {"node": "0"}})
        pictures = plan(0, "0", ["dog"], count * batches)
        begin = time.perf_counter()
        with Writer(folder, brush, {}, len(pictures), lambda done: None) as writer:
            for start in range(0, len(pictures), count):
                part = pictures[start : start + count]
                writer.add(part, brush.paint(embeddings, [picture.seed for picture in part]))
        seconds = time.perf_counter() - begin
    return len(pictures) / seconds, float(np.mean(samples)) if samples else None


@contextlib.contextmanager
def _busy() -> Iterator[list[float]]:
    """Samples of the GPU's utilisation during the block, in percent; filled at its end, empty if they cannot be
    read."""
    samples: list[float] = []
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200", "-i", "0"]
    process: Any = None
    with contextlib.suppress(OSError):
        process = subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield samples
    finally:
        if process is not None:
            process.terminate()
            for line in process.communicate()[0].splitlines():
                with contextlib.suppress(ValueError):
                    samples.append(float(line))
