"""What only a GPU can tell: the same results as on a CPU, recovery when its memory runs out, and speed at FLUX.1's full
size with random weights.

Needs neither a network nor Flower: it runs from the wheels of `make gpu-bundle` beside an installed PyTorch. A check
that fails, cannot be made here, or takes too long is a row of the table.
"""

import contextlib
import csv
import itertools
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from vegas_fl.algorithm.adapter import Adapter, AdapterShape, Conditioning
from vegas_fl.algorithm.generators import train_generator
from vegas_fl.algorithm.training import train_adapter
from vegas_fl.benchmarks import gpu_models
from vegas_fl.benchmarks.distillation import distillation
from vegas_fl.benchmarks.gpu_models import AST_TOKENS, Bench, Row, painted
from vegas_fl.config import RendererConfig, compose
from vegas_fl.core import devices, seeds
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import components, judge
from vegas_fl.rendering.painter import Painter
from vegas_fl.rendering.text_targets import prompt_targets
from vegas_fl.rendering.verify import psnr

GENERATOR = ["generator.prior_components=1"]
"""Mixtures need scikit-learn, which is not among the wheels."""
TOTAL = 570.0
"""Seconds that all checks may take together."""


def same_pictures(bench: Bench) -> Iterator[Row]:
    """Pictures of the tiny pack on the GPU, against those on the CPU, and twice."""
    ways = [(where, dtype) for where in ("cpu", bench.device) for dtype in ("float32", "bfloat16")]
    drawn = {way: _drawn(*way) for way in ways}
    apart = np.abs(drawn["cpu", "float32"] - drawn[bench.device, "float32"]).max()
    yield Row("float32, CPU against GPU", f"{apart:.0f} of 255 apart", "<= 2", bool(apart <= 2))
    ratio = psnr(drawn["cpu", "bfloat16"], drawn[bench.device, "bfloat16"])
    yield Row("bfloat16, CPU against GPU", f"{ratio:.1f} dB", ">= 35", ratio >= 35)
    again = np.array_equal(drawn[bench.device, "bfloat16"], _drawn(bench.device, "bfloat16"))
    yield Row("bfloat16, twice", "the same bytes" if again else "other bytes", "the same bytes", again)
    one, other = (_judged(bench, where) for where in ("cpu", bench.device))
    far = float((one - other).norm() / one.norm())
    yield Row("the judge, CPU against GPU", f"{100 * far:.3f} % apart", "<= 1 %", far <= 0.01)


def _drawn(device: str, dtype: str) -> np.ndarray:
    return painted(Painter(_tiny(dtype), device), 8)


def _tiny(dtype: str = "float32") -> RendererConfig:
    return compose([f"renderer.dtype={dtype}"]).renderer


def same_training(bench: Bench) -> Iterator[Row]:
    """Losses of an adapter and of a generator at small size, against those on the CPU; and twice."""
    losses = [_losses(where) for where in ("cpu", bench.device, bench.device)]
    for name, value in losses[0].items():
        apart = abs(losses[1][name] / value - 1)
        yield Row(f"{name}, CPU against GPU", f"{100 * apart:.3f} % apart", "<= 1 %", apart <= 0.01)
    same = losses[1] == losses[2]
    yield Row("twice", "the same losses" if same else "other losses", "the same losses", same)


def _losses(device: str) -> dict[str, float]:
    config, shape = compose(), AdapterShape(audio_tokens=8, audio_width=64, clip_width=32, t5_tokens=4, t5_width=64)
    draw = seeds.generator("bench gpu")
    x, labels = torch.randn(60, 8, 64, generator=draw), torch.arange(60) % 3
    x = x + 2 * torch.randn(3, 8, 64, generator=draw)[labels]
    targets = Conditioning(torch.randn(3, 32, generator=draw), torch.randn(3, 4, 64, generator=draw))
    with seeds.reproducible("bench gpu", threads=1):
        adapter = Adapter(shape, config.adapter, targets).to(device)
        history = train_adapter(adapter, x, labels, targets, config.adapter, 3)
        _, generator = train_generator(x[labels == 0], compose(GENERATOR).generator, device)
    return {"clip_loss": history["clip_loss"], "t5_loss": history["t5_loss"], "nll": generator["nll"]}


def large_training(bench: Bench) -> Iterator[Row]:
    """Distillation and a class's generator with AST's tokens."""
    tokens, count = (8, 20) if bench.small else (AST_TOKENS, 200)
    x = torch.randn(count, tokens, 768, generator=seeds.generator("bench gpu"))
    begin = time.perf_counter()
    with seeds.reproducible("bench gpu", threads=devices.cores()):
        train_generator(x, compose(GENERATOR).generator, bench.device)
    seconds = time.perf_counter() - begin
    yield Row(f"a class's VAE, {count} clips of {tokens} tokens", f"{seconds:.1f} s", "< 10 s", seconds < 10)
    _, seconds, memory = distillation(10, tokens, bench.device)
    said = f"{seconds:.1f} s, {memory:.1f} GB of main memory"
    yield Row(f"distillation, 10 x 200 samples of {tokens} tokens", said, "< 15 s", seconds < 15)


class Place(NamedTuple):
    """Where memory runs out: the function that runs, what is raised instead, and the work that must survive it."""

    owner: Any
    name: str
    error: Exception
    work: Callable[[Bench], Any]


def _paint(bench: Bench) -> Any:
    return painted(Painter(_tiny().model_copy(update={"batch_size": 4}), bench.device), 4)


def _judged(bench: Bench, device: str) -> torch.Tensor:
    """The judge's features of two pictures."""
    files = [bench.folder / f"judged-{grey}.png" for grey in (0, 128)]
    for path, grey in zip(files, (0, 128), strict=True):
        Image.new("RGB", (64, 64), (grey, 64, 32)).save(path)
    return judge.features("pack", None, device, files)[0]


def _targets(bench: Bench) -> Any:
    with tempfile.TemporaryDirectory(dir=bench.folder) as cache:
        return prompt_targets(["a dog", "a drum"], _tiny(), Path(cache), bench.device)


def _places() -> dict[str, Place]:
    from diffusers import AutoencoderKL, FluxTransformer2DModel
    from transformers import CLIPModel, T5EncoderModel

    ran_out = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    cublas = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    engine = RuntimeError("GET was unable to find an engine to execute this computation")
    return {
        "loading": Place(components, "load", ran_out, _paint),
        "denoising": Place(FluxTransformer2DModel, "forward", cublas, _paint),
        "the VAE": Place(AutoencoderKL, "decode", engine, _paint),
        "the judge": Place(CLIPModel, "get_image_features", ran_out, lambda bench: _judged(bench, bench.device)),
        "the text encoders": Place(T5EncoderModel, "forward", cublas, _targets),
        "training": Place(Adapter, "forward", ran_out, lambda bench: _losses(bench.device)),
    }


def out_of_memory(bench: Bench) -> Iterator[Row]:
    """Memory runs out once in each place: the work ends all the same."""
    for what, place in _places().items():
        real, fails = getattr(place.owner, place.name), itertools.count()

        def run(*given: Any, real: Any = real, fails: Any = fails, error: Any = place.error, **options: Any) -> Any:
            if not next(fails):
                raise error
            return real(*given, **options)

        try:
            with patch.object(place.owner, place.name, run):
                place.work(bench)
            said, good = "recovered", next(fails) > 1
        except Exception as error:
            said, good = f"{type(error).__name__}: {error}"[:300], False
        yield Row(f"in {what}", said if good or said != "recovered" else "was not reached", "recovers", good)


class Check(NamedTuple):
    """A check and the seconds that it may take."""

    run: Callable[[Bench], Iterator[Row]]
    seconds: float


CHECKS = {
    "pictures": Check(same_pictures, 40),
    "training": Check(same_training, 30),
    "out of memory": Check(out_of_memory, 40),
    "large training": Check(large_training, 60),
    "audio": Check(gpu_models.audio, 30),
    "simulation": Check(gpu_models.simulation, 90),
    "weights": Check(gpu_models.weights, 150),
    "speed": Check(gpu_models.speed, 150),
    "text targets": Check(gpu_models.text_targets, 60),
    "cards": Check(gpu_models.cards, 150),
    "memory modes": Check(gpu_models.memory_modes, 90),
    "quantised": Check(gpu_models.quantised, 60),
    "whole run": Check(gpu_models.whole_run, 120),
}


class OutOfTime(BaseException):
    """A check took longer than it may. Not an Exception: code that recovers from those must not go on."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise :class:`OutOfTime` in the block after some seconds, where the system can interrupt it."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds, 10)  # again, if a library swallowed it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rows(name: str, bench: Bench, seconds: float) -> Iterator[Row]:
    """The rows of one check, and one that says so if it ends early."""
    begin = time.perf_counter()
    found = CHECKS[name].run(bench)
    while True:
        try:
            left = seconds - (time.perf_counter() - begin)
            with at_most(max(left, 0.001)):
                row = next(found)
        except StopIteration:
            break
        except OutOfTime:
            yield Row("the rest", f"skipped: the check's {seconds:.0f} s are spent", "in time", None)
            break
        except ImportError as error:
            yield Row("the rest", f"skipped: {error}", "installed", None)
            break
        except Exception as error:
            yield Row("the rest", f"failed with {type(error).__name__}: {error}"[:400], "no error", False)
            break
        yield row
    del found
    devices.release(bench.device)


def lacking() -> str | None:
    """Why there is nothing to measure here, or None."""
    if torch.cuda.is_available():
        return None
    return f"torch {torch.__version__} finds no CUDA device on this machine"


def bench(output: Path, total: float = TOTAL) -> Iterator[tuple[str, Row]]:
    """All checks on the GPU, each row also written to a CSV file.

    Raises
    ------
    VegasError
        No GPU is available.
    """
    if reason := lacking():
        raise VegasError(f"bench gpu needs a GPU: {reason}; run it where one is (make gpu-bundle packs what it needs)")
    with tempfile.TemporaryDirectory(prefix="vegas-fl-gpu-") as folder:
        yield from measured(Bench("cuda", Path(folder)), output, total)


def measured(bench: Bench, output: Path, total: float) -> Iterator[tuple[str, Row]]:
    """The name and the rows of each check, within ``total`` seconds."""
    begin = time.perf_counter()
    output.parent.mkdir(parents=True, exist_ok=True)
    card = torch.cuda.get_device_name() if bench.device.startswith("cuda") else bench.device
    with output.open("w", newline="", encoding="utf8") as file:
        table = csv.writer(file)
        table.writerow(["check", "what", "measured", "expected", "as expected", "device", "torch"])
        for name, check in CHECKS.items():
            left = total - (time.perf_counter() - begin)
            spent = Row("all of it", f"skipped: the {total:.0f} s of all checks are spent", "in time", None)
            for row in rows(name, bench, min(check.seconds, left)) if left > 1 else [spent]:
                said = {True: "yes", False: "no", None: "not measured"}[row.good]
                table.writerow([name, row.what, row.measured, row.bar, said, card, torch.__version__])
                file.flush()
                yield name, row
