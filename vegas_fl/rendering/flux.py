"""FLUX through diffusers: its location, shapes and fingerprints, and loading only the parts that are used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from vegas_fl.config import RendererConfig
from vegas_fl.core import hub, pack
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import read_text
from vegas_fl.rendering import memory

TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
PICTURE_PARTS = ("transformer", "vae")

Pipeline = Any
"""A diffusers.FluxPipeline, which has no type hints."""


def location(config: RendererConfig) -> str:
    """Folder or hub id of the renderer's models; for "pack", the installed tiny pack.

    Raises
    ------
    VegasError
        The folder or the pack does not exist.
    """
    if config.model == "pack":
        return str(pack.model_folder("flux"))
    folder = Path(config.model).expanduser()
    if folder.is_dir():
        return str(folder)
    if config.model.startswith((".", "/", "~")) or config.model.count("/") != 1:
        raise VegasError(
            f"renderer.model={config.model}: folder not found; give a folder in diffusers' layout, a hub id "
            "like owner/name, or 'pack'"
        )
    return config.model


def text_shape(config: RendererConfig) -> tuple[int, int, int]:
    """The shapes (P, T, C) of FLUX's text inputs, from the transformer's config: pooled width, T5 tokens, T5 width."""
    path = Path(location(config)) / "transformer" / "config.json"
    try:
        if not path.parent.parent.is_dir():
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(config.model, "transformer/config.json", revision=config.revision))
        values = json.loads(read_text(path))
        return values["pooled_projection_dim"], config.max_sequence_length, values["joint_attention_dim"]
    except (OSError, ValueError, KeyError) as error:
        raise _unavailable(config, error) from error


def text_fingerprint(config: RendererConfig) -> str:
    """Short hash that changes with the text encoders and the number of T5 tokens: the adapters' target space."""
    return _fingerprint(config, TEXT_PARTS, f"T={config.max_sequence_length}")


def picture_fingerprint(config: RendererConfig) -> str:
    """Short hash that changes with the models and settings that turn embeddings into pictures."""
    how = f"{config.steps} {config.guidance_scale} {config.height}x{config.width} {config.dtype}"
    if config.quantization != "none":
        how += f" {config.quantization}"
    return _fingerprint(config, (*PICTURE_PARTS, "scheduler"), how)


def _fingerprint(config: RendererConfig, parts: Sequence[str], how: str) -> str:
    """For a local folder, hash of the sizes, heads and tails of the parts' files, not of gigabytes; for a hub id, of
    the id and its revision."""
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
    """The pipeline with only its text encoders, for text targets."""
    return _load(config, without=PICTURE_PARTS).to(device)


def load_pipeline(config: RendererConfig) -> Pipeline:
    """The pipeline without its text encoders; its weights are in main memory, unless quantised."""
    pipeline = _load(config, without=TEXT_PARTS, quantization_config=memory.quantization(config))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae.to(memory_format=torch.channels_last)  # the fastest for convolutions, on CPUs and GPUs
    return pipeline


def incomplete(config: RendererConfig, parts: Sequence[str] = (*PICTURE_PARTS, "scheduler")) -> str | None:
    """Which of ``parts`` a local model folder lacks, as a sentence; None if none, or if the model is on the hub."""
    folder = Path(location(config))
    if not folder.is_dir():
        return None
    remedy = "copy the model again, or give another folder, a hub id or 'pack'"
    if not (folder / "model_index.json").is_file():
        return f"renderer.model={config.model}: {folder} is not a diffusers model (no model_index.json); {remedy}"
    for part in parts:
        if not (folder / part).is_dir():
            return f"renderer.model={config.model}: {folder} lacks its component {part}; {remedy}"
        weights = part in (*PICTURE_PARTS, "text_encoder", "text_encoder_2")
        if weights and not any((folder / part).glob("*.safetensors")):
            return f"renderer.model={config.model}: {folder / part} holds no weights (.safetensors); {remedy}"
    return None


def _load(config: RendererConfig, without: Sequence[str], **options: Any) -> Pipeline:
    if problem := incomplete(config, [p for p in (*TEXT_PARTS, *PICTURE_PARTS, "scheduler") if p not in without]):
        raise VegasError(problem)
    import diffusers
    import transformers

    for library in (diffusers, transformers):  # their progress bars would hide ours
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    try:
        return diffusers.FluxPipeline.from_pretrained(
            location(config),
            revision=config.revision,
            dtype=getattr(torch, config.dtype),
            **{part: None for part in without},
            **options,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _unavailable(config, error) from error


def _unavailable(config: RendererConfig, error: Exception) -> VegasError:
    away = None if Path(location(config)).is_dir() else hub.problem()
    reason = away or memory.first_line(error)
    return VegasError(
        f"renderer.model={config.model} cannot be opened ({reason}); give a folder in diffusers' "
        "layout, a hub id this machine can reach, or 'pack'"
    )
