"""FLUX through diffusers: loading only the parts that are needed, shapes, and one batch of pictures."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vegas_fl.adapters import Conditioning
from vegas_fl.config import RendererConfig
from vegas_fl.errors import VegasError

if TYPE_CHECKING:
    from PIL.Image import Image

TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
PICTURE_PARTS = ("transformer", "vae")

Pipeline = Any
"""A diffusers.FluxPipeline; the library has no type hints for it."""


def location(config: RendererConfig) -> str:
    """Folder or hub id of the renderer's models; "pack" is where the tiny pack is installed.

    Raises
    ------
    VegasError
        The folder or the pack is not there.
    """
    if config.model == "pack":
        import vegas_tiny

        try:
            return str(vegas_tiny.path("flux"))
        except FileNotFoundError as error:
            raise VegasError(str(error)) from error
    folder = Path(config.model).expanduser()
    if folder.is_dir():
        return str(folder)
    if config.model.startswith((".", "/", "~")) or config.model.count("/") != 1:
        raise VegasError(
            f"renderer.model={config.model}: there is no such folder; give a folder in diffusers' layout, a hub id "
            "like owner/name, or 'pack'"
        )
    return config.model


def text_shape(config: RendererConfig) -> tuple[int, int, int]:
    """The shapes of FLUX's text inputs (P, T, C): pooled width, T5 tokens, T5 width, from the transformer's config."""
    path = Path(location(config)) / "transformer" / "config.json"
    try:
        if not path.parent.parent.is_dir():
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(config.model, "transformer/config.json", revision=config.revision))
        values = json.loads(path.read_text("utf8"))
        return values["pooled_projection_dim"], config.max_sequence_length, values["joint_attention_dim"]
    except (OSError, ValueError, KeyError) as error:
        raise _unavailable(config, error) from error


def text_fingerprint(config: RendererConfig) -> str:
    """Short hash that changes with the text encoders and the number of T5 tokens: the adapters' target space."""
    return _fingerprint(config, TEXT_PARTS, f"T={config.max_sequence_length}")


def picture_fingerprint(config: RendererConfig) -> str:
    """Short hash that changes with what turns embeddings into pictures, and with how it is used."""
    how = f"{config.steps} {config.guidance_scale} {config.height}x{config.width} {config.dtype}"
    return _fingerprint(config, (*PICTURE_PARTS, "scheduler"), how)


def _fingerprint(config: RendererConfig, parts: Sequence[str], how: str) -> str:
    """Of a local folder, sizes, heads and tails of the parts' files are hashed, not gigabytes; of a hub id, the
    id and its revision."""
    total = hashlib.sha256(how.encode())
    folder = Path(location(config))
    if not folder.is_dir():
        total.update(f"{config.model}@{config.revision}".encode())
        return total.hexdigest()[:16]
    for part in parts:
        for path in sorted(p for p in (folder / part).rglob("*") if p.is_file()):
            with open(path, "rb") as file:
                size = path.stat().st_size
                total.update(f"{part}/{path.name}:{size}".encode())
                total.update(file.read(1 << 16))
                file.seek(max(0, size - (1 << 16)))
                total.update(file.read())
    return total.hexdigest()[:16]


def load_text_encoders(config: RendererConfig, device: str) -> Pipeline:
    """The pipeline with its text encoders alone, to make text targets."""
    return _load(config, without=PICTURE_PARTS).to(device)


@functools.lru_cache(maxsize=1)
def load_renderer(config: RendererConfig, device: str) -> Pipeline:
    """The pipeline without its text encoders, ready to draw from embeddings."""
    pipeline = _load(config, without=TEXT_PARTS)
    pipeline.set_progress_bar_config(disable=True)
    if config.low_memory and device.startswith("cuda"):
        pipeline.enable_model_cpu_offload(device=device)
        pipeline.vae.enable_slicing()
        return pipeline
    return pipeline.to(device)


def draw(pipeline: Pipeline, config: RendererConfig, conditioning: Conditioning, seeds: Sequence[int]) -> list[Image]:
    """Render one batch.

    Parameters
    ----------
    pipeline : FluxPipeline
    config : RendererConfig
    conditioning : Conditioning
        clip ``[B, P]`` and t5 ``[B, T, C]``.
    seeds : sequence of int
        B seeds, one for each picture's initial noise.

    Raises
    ------
    VegasError
        An embedding is not finite (FLUX would draw it black), or memory ran out.
    """
    for branch, value in conditioning._asdict().items():
        if not torch.isfinite(value).all():
            raise VegasError(f"The {branch} embeddings hold values that are not finite; train the adapters again")
    dtype = pipeline.transformer.dtype
    device = pipeline._execution_device
    try:
        return pipeline(
            prompt_embeds=conditioning.t5.to(device, dtype),
            pooled_prompt_embeds=conditioning.clip.to(device, dtype),
            height=config.height,
            width=config.width,
            num_inference_steps=config.steps,
            guidance_scale=config.guidance_scale,
            max_sequence_length=config.max_sequence_length,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        ).images
    except torch.OutOfMemoryError as error:
        raise VegasError(
            f"Out of memory while drawing {len(seeds)} pictures at once; set a smaller renderer.batch_size"
            + ("" if config.low_memory else ", or renderer.low_memory=true")
        ) from error


def _load(config: RendererConfig, without: Sequence[str]) -> Pipeline:
    import diffusers
    import transformers

    for library in (diffusers, transformers):  # parts load in a second; their bars would drown ours
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    try:
        return diffusers.FluxPipeline.from_pretrained(
            location(config),
            revision=config.revision,
            dtype=getattr(torch, config.dtype),
            **{part: None for part in without},
        )
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise _unavailable(config, error) from error


def _unavailable(config: RendererConfig, error: Exception) -> VegasError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return VegasError(
        f"renderer.model={config.model} cannot be opened ({first}); give a folder in diffusers' layout, "
        "a hub id this machine can reach, or 'pack'"
    )
