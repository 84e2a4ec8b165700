"""Where networks run. PyTorch is imported by what needs it: commands without networks start faster."""

import contextlib
import functools
import gc
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vegas_fl.core.errors import VegasError

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Network = TypeVar("Network", bound="nn.Module")

OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "status_alloc_failed",
    "host_allocation_failed",
    "cublas_status_not_initialized",
    "unable to find an engine",
    "nvml_success == r internal assert",
    "cudaerrormemoryallocation",
)
"""What errors say when memory ran out, in lower case: of PyTorch's allocators, cuBLAS, cuDNN, cuSOLVER, NVML, the
operating system."""


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error means that memory ran out, on the GPU or the machine. It may have been raised from the error
    that says so."""
    for _ in range(5):
        if isinstance(error, MemoryError):
            return True
        said = str(error).lower()
        if isinstance(error, RuntimeError | OSError) and any(sign in said for sign in OUT_OF_MEMORY):
            return True
        error = None if error is None else error.__cause__
    return False


def resolve_device(name: str) -> str:
    """Turn ``auto`` into the first available of cuda, mps and cpu; return any other name if the device exists. A GPU
    with a number becomes the current one: libraries allocate on it.

    Raises
    ------
    VegasError
        The device does not exist on this machine, or ``auto`` would leave its GPU unused because PyTorch cannot use it.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        elif gpu := gpu_present():
            raise VegasError(
                f"device=auto: this machine has a GPU ({gpu}), but PyTorch {torch.__version__} cannot use it: "
                f"{cuda_problem()}; correct that, or set device=cpu to compute without the GPU"
            )
        else:
            return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(index or 0) >= count:
        why = f" ({cuda_problem()})" if kind == "cuda" and not count else f" (it has {count})" if kind == "cuda" else ""
        raise VegasError(f"device={name} does not exist on this machine{why}; use device=auto or device=cpu")
    if kind == "cuda":
        _check_architecture(int(index or 0))
        if index:
            torch.cuda.set_device(int(index))
    return name


@functools.cache
def gpu_present() -> str | None:
    """What shows that the machine has a GPU of NVIDIA's that this process may use; None if nothing does."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1", "NoDevFiles"):
        return None
    if found := sorted(Path("/dev").glob("nvidia[0-9]*")):
        return str(found[0])
    if tool := shutil.which("nvidia-smi"):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20)
            if listed.returncode == 0 and listed.stdout.lstrip().startswith("GPU"):
                return listed.stdout.strip().splitlines()[0]
    return None


def cuda_problem() -> str:
    """Why PyTorch finds no GPU."""
    import torch

    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        return "it was built without CUDA; install a PyTorch built for your GPU's driver"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0].rstrip(".")
    return "CUDA finds no device"


def _check_architecture(index: int) -> None:
    """Raise :class:`VegasError` if the PyTorch that is installed has no code for a GPU."""
    import torch

    built = torch.cuda.get_arch_list()
    major, minor = torch.cuda.get_device_capability(index)
    binary = [int(name[3:].rstrip("af")) for name in built if name.startswith("sm_")]
    portable = [int(name[8:].rstrip("af")) for name in built if name.startswith("compute_")]
    mine = 10 * major + minor
    if binary and not any(b // 10 == major and b <= mine for b in binary) and not any(p <= mine for p in portable):
        raise VegasError(
            f"device=cuda:{index}: {torch.cuda.get_device_name(index)} has compute capability {major}.{minor}, for "
            f"which PyTorch {torch.__version__} was not built ({', '.join(built)}); install another PyTorch, or set "
            "device=cpu"
        )


def free_bytes(device: str) -> int | None:
    """Free memory of a GPU; None if the device uses the machine's memory."""
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.mem_get_info(torch.device(device))[0]


def sparing(run: Callable[[int, str], Result], batch: int, device: str, what: str) -> Result:
    """``run(batch, device)``, again with half the batch each time memory runs out, and at last on the CPU.

    Raises
    ------
    VegasError
        Memory runs out on the CPU as well.
    """
    while True:
        try:
            return run(batch, device)
        except Exception as error:
            if not out_of_memory(error):
                raise
        # Outside the handler, whose traceback would keep the memory from being freed.
        release(device)
        if batch > 1:
            batch = -(-batch // 2)
            log.warning("out of memory by %s on %s: trying %d at once", what, device, batch)
        elif device != "cpu":
            log.warning("out of memory by %s on %s: continuing on the CPU", what, device)
            device = "cpu"
        else:
            raise VegasError(f"Out of memory by {what} on the CPU; free memory used by other programs")


def moved(network: Network, device: str) -> Network:
    """``network`` itself, on a device, or on the CPU where the device has no room for it."""
    return sparing(lambda _, place: network.to(place), 1, device, f"a network ({type(network).__name__})")


def retrained(network: "nn.Module", run: Callable[[int], Result], batch: int, what: str) -> Result:
    """``run(batch)``, which trains ``network`` in place, as in :func:`sparing`: again from the weights and the random
    draws that it began with, with half as many rows at a time, and at last with the network on the CPU."""
    import torch

    weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    draws = torch.get_rng_state()

    def attempt(batch: int, device: str) -> Result:
        network.to(device).load_state_dict(weights)
        torch.set_rng_state(draws)
        return run(batch)

    return sparing(attempt, batch, str(next(network.parameters()).device), what)


@contextlib.contextmanager
def memory_explained() -> Iterator[None]:
    """Turn an error that says that memory ran out into a :class:`VegasError`."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        first = (str(error).strip().splitlines() or ["MemoryError"])[0]
        raise VegasError(
            f"Out of memory ({first}); free memory used by other programs, or compute less at a time: fewer "
            "encoder.tokens, a smaller adapter.batch_size, fewer aggregation.samples_per_class"
        ) from error


def gpus() -> list[int]:
    """The memory of each CUDA device that torch can use, in bytes."""
    import torch

    return [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]


def release(device: str) -> None:
    """Free the memory of deleted networks, and the GPU memory that torch holds in reserve."""
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def cores() -> int:
    """Number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_speed(dtype: str) -> float:
    """Floating-point operations a second of the CPU in matrix products, measured in a moment."""
    import torch

    size = 512
    with threads(cores()):
        matrix = torch.ones(size, size, dtype=getattr(torch, dtype))
        torch.mm(matrix, matrix)
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < 0.05:
            torch.mm(matrix, matrix)
            count += 1
        return 2 * size**3 * count / (time.perf_counter() - begin)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Use ``count`` CPU threads in the block, whatever the process was started with: the order in which sums are
    rounded depends on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
