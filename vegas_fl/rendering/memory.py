"""Where FLUX's models are kept while it draws, and how many pictures it draws at once, by what fits; quantised weights.

The largest needs, besides weights, of the two halves of drawing, which follow one another:

- denoising, for each picture of a batch: its tokens (one for 16x16 pixels, and those of the text) in a transformer of
  width d;
- decoding, for one picture, as the VAE gets them one by one: its pixels.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from vegas_fl.config import RendererConfig
from vegas_fl.core import modelfiles
from vegas_fl.core.devices import out_of_memory
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering.components import first_line
from vegas_fl.rendering.streaming import Streaming

LADDER = ("full", "vae_offload", "group_offload", "sequential")
"""Memory modes, each slower and with less on the GPU than the one before."""

PACKAGES = {"nf4": "bitsandbytes", "int8": "torchao"}
"""The package for each quantization; an optional extra of the project has the same name."""

SHARE = {"nf4": 0.5625, "int8": 1.01, "fp8": 1.01}
"""Bytes a quantised weight takes; nf4 has a scale for each 64 weights."""

TOKEN = 20
"""Values that denoising holds at its peak for each token and unit of width: 17.2 counted in FLUX.1's blocks, with room
for the kernels' workspaces."""
PIXEL = 1200
"""Values that the VAE holds at its peak for each pixel: 768 counted in FLUX.1's decoder (three times its 256 channels),
with room for the convolutions' workspaces."""
RESERVE = 0.6e9
"""Bytes for cuBLAS, cuDNN and the gaps between blocks of memory."""
WIDTH = 3072
"""Width d of FLUX.1's transformer."""

TOKENS_AT_ONCE = 16384
"""Tokens of pictures in a batch that occupy a large GPU: 16 pictures of 512x512. More would only take memory."""
CPU_TOKENS_AT_ONCE = 512
MOST_AT_ONCE = 32

GB = 1e9


@dataclass(frozen=True)
class Choice:
    """A memory mode, how many pictures are drawn at once, and the reason for both; with group_offload, the share of the
    transformer's weights that is in main memory (``streamed``)."""

    mode: str
    reason: str
    batch: int = 1
    streamed: float = 0.0


@dataclass(frozen=True)
class Needs:
    """Bytes that drawing takes: weights, and the peaks besides them."""

    transformer: int
    vae: int
    denoising: float
    decoding: float

    @classmethod
    def of(cls, config: RendererConfig, sizes: Mapping[str, int], width: int = WIDTH) -> Needs:
        value = torch.finfo(getattr(torch, config.dtype)).bits // 8
        tokens = config.height * config.width / 256 + config.max_sequence_length
        return cls(
            sizes["transformer"] if "transformer" in sizes else sum(sizes.values()) - sizes.get("vae", 0),
            sizes.get("vae", 0),
            TOKEN * width * tokens * value,
            PIXEL * config.height * config.width * value,
        )

    def bytes(self, batch: int, mode: str = "full", streamed: float = 0.0) -> float:
        """The peak with ``batch`` pictures at once."""
        denoising, decoding = batch * self.denoising, self.decoding
        if mode == "vae_offload":
            decoding += self.vae
        else:
            denoising, decoding = denoising + self.vae, decoding + self.vae
        return RESERVE + self.transformer * (1 - streamed) + max(denoising, decoding)


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


def most_at_once(config: RendererConfig, device: str) -> int:
    """Pictures at once beyond which drawing gets no faster; the configured number, if there is one."""
    if config.batch_size != "auto":
        return config.batch_size
    budget = CPU_TOKENS_AT_ONCE if device.startswith("cpu") else TOKENS_AT_ONCE
    return max(1, min(MOST_AT_ONCE, budget * 256 // (config.height * config.width)))


def choose(
    config: RendererConfig, device: str, sizes: Mapping[str, int], free: int | None, width: int = WIDTH
) -> Choice:
    """The memory mode and the batch size to start with.

    Parameters
    ----------
    config : RendererConfig
    device : str
    sizes : mapping
        Model → bytes of its weights.
    free : int or None
        Free bytes of the device, weights that are on it already counted as free; None if it uses the machine's memory.
    width : int
        Of the transformer.

    Raises
    ------
    VegasError
        The configured mode does not work here.
    """
    needs, most = Needs.of(config, sizes, width), most_at_once(config, device)
    counts = range(most, 0, -1) if config.batch_size == "auto" else [most]
    fixed = config.memory
    if fixed == "auto" and free is None:
        return Choice("full", f"{device} uses the machine's own memory", most)
    if fixed == "auto" and not config.low_memory:
        fixed = "full"
    if fixed != "auto":
        if problem := mode_problem(config, device):
            raise VegasError(problem)
        streamed = float(fixed == "group_offload")
        fitting = (b for b in counts if free is None or needs.bytes(b, fixed, streamed) <= free)
        reason = "as configured" if config.memory != "auto" else "renderer.low_memory is false"
        return Choice(fixed, reason, next(fitting, counts[-1]), streamed)
    assert free is not None
    have = f"{free / GB:.1f} GB are free"
    for mode in LADDER[:2]:
        for batch in counts:
            if (whole := needs.bytes(batch, mode)) <= free:
                kept = "all models" if mode == "full" else "the transformer"
                return Choice(mode, f"{have}; {kept} and {_pictures(batch)} at once take {whole / GB:.1f} GB", batch)
    # Weights stream once a batch: larger batches cost memory that weights could take, and save transfers.
    batch = next((b for b in counts if b * needs.denoising <= free / 4), counts[-1])
    excess = needs.bytes(batch) - free
    # Besides what is resident, two blocks are on the GPU: the one that computes, and the next one.
    streamed = min(1.0, math.ceil(100 * (excess / max(1, needs.transformer) + 0.06)) / 100)
    return Choice(
        "group_offload",
        f"{have}; all models and {_pictures(batch)} at once would take {needs.bytes(batch) / GB:.1f} GB, so "
        f"{100 * streamed:.0f} % of the transformer stay in main memory",
        batch,
        streamed,
    )


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def place(pipeline: Any, mode: str, device: str, streamed: float = 1.0) -> None:
    """Distribute the models of a new pipeline as ``mode`` says.

    Raises
    ------
    VegasError
        diffusers does not support the mode for this model.
    """
    try:
        if not device.startswith("cpu"):
            pipeline.vae.enable_slicing()  # decoding a whole batch at once would be the peak
        if mode == "full":
            pipeline.to(device)
        elif mode == "vae_offload":
            pipeline.transformer.to(device)
            _decode_from_main_memory(pipeline.vae, device)
        elif mode == "group_offload":
            pipeline.vae.to(device)
            Streaming(pipeline.transformer, device, streamed)
        else:
            pipeline.enable_sequential_cpu_offload(device=device)
    except (ValueError, RuntimeError, ImportError, NotImplementedError) as error:
        if out_of_memory(error):
            raise
        raise VegasError(f"renderer.memory={mode} is not possible with this model ({first_line(error)})") from error


def _decode_from_main_memory(vae: Any, device: str) -> None:
    """Let the decoder be on the device only while it decodes."""
    # The pipeline computes on the device of the VAE's first weight; drawing uses nothing else of the encoder.
    vae.encoder.conv_in.to(device)
    if vae.post_quant_conv is not None:
        vae.post_quant_conv.to(device)
    vae.decoder.register_forward_pre_hook(lambda decoder, _: decoder.to(device) and None)
    vae.decoder.register_forward_hook(lambda decoder, *_: decoder.to("cpu") and None)


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
    """diffusers' setting that quantises the transformer's weights; None without quantization, and for fp8, whose
    weights are cast to eight bits in storage only.

    Raises
    ------
    VegasError
        It needs a package or device that is missing.
    """
    if problem := quantization_problem(config):
        raise VegasError(problem)
    if config.quantization not in PACKAGES:
        return None
    from diffusers import BitsAndBytesConfig, TorchAoConfig

    if config.quantization == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, config.dtype)
        )
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def stored_bytes(folder: Path, parts: Sequence[str], dtype: str, quantization: str = "none") -> dict[str, int]:
    """Bytes that each part of a pipeline's folder will take in memory, from the headers of its files."""
    value = torch.finfo(getattr(torch, dtype)).bits / 8
    found = {}
    for part in parts:
        count = sum(math.prod(s) for s in modelfiles.shapes(modelfiles.weight_files(folder / part)).values())
        found[part] = int(count * (SHARE.get(quantization, value) if part == "transformer" else value))
    return found


def weights(pipeline: Any, parts: Sequence[str], device: str | None = None) -> dict[str, int]:
    """Bytes of each part's weights in memory, quantised or not; with ``device``, only of those that are there."""
    kind = device and torch.device(device).type
    return {
        part: sum(_bytes(w) for w in getattr(pipeline, part).parameters() if kind in (None, w.device.type))
        for part in parts
    }


def _bytes(tensor: torch.Tensor) -> int:
    if is_traceable_wrapper_subclass(tensor):  # torchao's: its shape and type are those before quantization
        names, _ = tensor.__tensor_flatten__()
        return sum(_bytes(getattr(tensor, name)) for name in names)
    return tensor.numel() * tensor.element_size()
