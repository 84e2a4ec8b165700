"""Where FLUX's models are kept while it draws: diffusers' offloading, chosen by what fits, and quantised weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from vegas_fl.config import RendererConfig
from vegas_fl.core.errors import VegasError

LADDER = ("full", "model_offload", "group_offload", "sequential")
"""Memory modes, each slower and with less on the GPU than the one before."""

PACKAGES = {"nf4": "bitsandbytes", "int8": "torchao", "fp8": "torchao"}
"""The package for each quantization; an optional extra of the project has the same name."""

WORKING_BYTES = 2500
"""Memory besides the weights, for each pixel of a batch and byte of a value: FLUX.1-dev peaks 4.7 GB above its
weights for one picture of 1024x1024 in bfloat16 (diffusers' quantisation benchmark), rounded up."""

GB = 1e9


@dataclass(frozen=True)
class Choice:
    """A memory mode and the reason for it."""

    mode: str
    reason: str


def rungs(config: RendererConfig, device: str) -> tuple[str, ...]:
    """The modes that this model and device support, from the fastest to the smallest."""
    # accelerate's sequential hooks do not work on a CPU, and lose quantised weights on any device.
    sequential = not device.startswith("cpu") and config.quantization == "none"
    return LADDER if sequential else LADDER[:-1]


def mode_problem(config: RendererConfig, device: str) -> str | None:
    """Why the memory mode asked for does not work on a device, or None."""
    if config.memory == "auto" or config.memory in rungs(config, device):
        return None
    return f"renderer.memory={config.memory} needs a GPU, but the device is {device}; use memory=auto"


def free_bytes(device: str) -> int | None:
    """Free memory of a device; None if it uses the machine's memory."""
    if not device.startswith("cuda"):
        return None
    return torch.cuda.mem_get_info(torch.device(device))[0]


def choose(config: RendererConfig, device: str, sizes: Mapping[str, int], free: int | None) -> Choice:
    """The memory mode to start with.

    Parameters
    ----------
    config : RendererConfig
    device : str
    sizes : mapping
        Model → bytes of its weights.
    free : int or None
        Free bytes of the device; None if it uses the machine's memory.

    Raises
    ------
    VegasError
        The configured mode does not work here.
    """
    if config.memory != "auto":
        if problem := mode_problem(config, device):
            raise VegasError(problem)
        return Choice(config.memory, "as configured")
    if free is None:
        return Choice("full", f"{device} uses the machine's own memory")
    if not config.low_memory:
        return Choice("full", "renderer.low_memory is false")
    value = torch.finfo(getattr(torch, config.dtype)).bits // 8
    working = config.batch_size * config.height * config.width * WORKING_BYTES * value
    whole, largest = sum(sizes.values()) + working, max(sizes.values()) + working
    have = f"{free / GB:.1f} GB are free"
    if whole <= free:
        return Choice("full", f"{have}, all models and a batch of {config.batch_size} take about {whole / GB:.1f} GB")
    if largest <= free:
        return Choice(
            "model_offload",
            f"{have}; all models would take about {whole / GB:.1f} GB, the largest {largest / GB:.1f} GB",
        )
    return Choice("group_offload", f"{have}; the largest model would take about {largest / GB:.1f} GB")


def place(pipeline: Any, mode: str, device: str) -> None:
    """Distribute the models of a new pipeline as ``mode`` says.

    Raises
    ------
    VegasError
        diffusers does not support the mode for this model.
    """
    try:
        if mode == "full":
            pipeline.to(device)
            return
        # With the weights offloaded, decoding a whole batch at once would be the peak.
        pipeline.vae.enable_slicing()
        pipeline.vae.enable_tiling()
        if mode == "model_offload":
            pipeline.enable_model_cpu_offload(device=device)
        elif mode == "group_offload":
            pipeline.enable_group_offload(
                onload_device=torch.device(device),
                offload_type="leaf_level",
                # The next layer is fetched during computation; pinning layer by layer avoids a second copy of all.
                use_stream=device.startswith("cuda"),
                low_cpu_mem_usage=device.startswith("cuda"),
            )
        else:
            pipeline.enable_sequential_cpu_offload(device=device)
    except (ValueError, RuntimeError, ImportError, NotImplementedError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise VegasError(f"renderer.memory={mode} is not possible with this model ({first_line(error)})") from error


def quantization_problem(config: RendererConfig) -> str | None:
    """Why the weights cannot be quantised here, or None."""
    package = PACKAGES.get(config.quantization)
    if package and importlib.util.find_spec(package) is None:
        return (
            f"renderer.quantization={config.quantization} needs the package {package}; "
            f"pip install 'vegas-fl[{package}]', or set renderer.quantization=none"
        )
    if config.quantization == "nf4" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        return "renderer.quantization=nf4 needs a GPU (bitsandbytes); on a CPU use int8, fp8 or none"
    return None


def quantization(config: RendererConfig) -> Any:
    """diffusers' setting that quantises the transformer's weights; None without quantization.

    Raises
    ------
    VegasError
        It needs a package or device that is missing.
    """
    if config.quantization == "none":
        return None
    if problem := quantization_problem(config):
        raise VegasError(problem)
    from diffusers import BitsAndBytesConfig, PipelineQuantizationConfig, TorchAoConfig

    if config.quantization == "nf4":
        how = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, config.dtype)
        )
    else:
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig

        how = TorchAoConfig(Int8WeightOnlyConfig() if config.quantization == "int8" else Float8WeightOnlyConfig())
    return PipelineQuantizationConfig(quant_mapping={"transformer": how})


def weights(pipeline: Any, parts: tuple[str, ...]) -> dict[str, int]:
    """Bytes of each part's weights in memory, quantised or not."""
    return {part: sum(_bytes(weight) for weight in getattr(pipeline, part).parameters()) for part in parts}


def _bytes(tensor: torch.Tensor) -> int:
    if is_traceable_wrapper_subclass(tensor):  # torchao's: its shape and type are those before quantization
        names, _ = tensor.__tensor_flatten__()
        return sum(_bytes(getattr(tensor, name)) for name in names)
    return tensor.numel() * tensor.element_size()


def first_line(error: BaseException) -> str:
    """The first line of a library's error message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
