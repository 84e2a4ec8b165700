"""FLUX through diffusers: its location, shapes and fingerprints, and loading only the parts that are used."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vegas_fl.config import RendererConfig
from vegas_fl.core import devices, hub, modelfiles, pack
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import components, memory
from vegas_fl.rendering.components import PICTURE_PARTS, TEXT_PARTS, first_line

LARGE = 1e9
"""Parameters of a FLUX that is too large for a CPU."""
REMEDY = "give a folder in diffusers' layout, a hub id that this machine can reach, or 'pack'"

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
    if folder.is_file():
        raise VegasError(f"renderer.model={config.model} is a file; single-file checkpoints are not read: {REMEDY}")
    if config.model.startswith((".", "/", "~")) or config.model.count("/") != 1:
        raise VegasError(
            f"renderer.model={config.model}: folder not found; give a folder in diffusers' layout, a hub id "
            "like owner/name, or 'pack'"
        )
    return config.model


def fetched(config: RendererConfig, parts: Sequence[str]) -> Path:
    """The folder that holds the components ``parts`` on this machine: a hub's model is downloaded at first use.

    Raises
    ------
    VegasError
        Files are missing, or the hub refuses them.
    """
    folder = Path(location(config))
    try:
        if not folder.is_dir():
            files = ["model_index.json"] + [f"{part}/*{end}" for part in parts for end in (".json", ".txt", ".model")]
            files += [f"{part}/*.safetensors" for part in parts if part in components.CLASSES]
            whole = functools.partial(components.check_files, parts=parts)
            folder = hub.snapshot("renderer.model", config.model, config.revision, files, whole, REMEDY)
        components.check_files(folder, parts)
    except modelfiles.Incomplete as error:
        raise VegasError(f"renderer.model={config.model} cannot be opened: {error}, or {REMEDY}") from error
    return folder


def text_shape(config: RendererConfig) -> tuple[int, int, int]:
    """The shapes (P, T, C) of FLUX's text inputs, from the transformer's config: pooled width, T5 tokens, T5 width."""
    values = transformer_config(config)
    try:
        return values["pooled_projection_dim"], config.max_sequence_length, values["joint_attention_dim"]
    except KeyError as error:
        raise VegasError(
            f"renderer.model={config.model} cannot be opened (its transformer/config.json has no {error}); {REMEDY}"
        ) from error


def transformer_config(config: RendererConfig) -> dict[str, Any]:
    """What ``transformer/config.json`` says; of a hub's model, only this file is downloaded."""
    folder, name = Path(location(config)), "transformer/config.json"
    try:
        if not folder.is_dir():
            folder = hub.snapshot("renderer.model", config.model, config.revision, [name], _has_config, REMEDY)
        return modelfiles.read_json(folder / name)
    except modelfiles.Incomplete as error:
        raise VegasError(f"renderer.model={config.model} cannot be opened ({error}), or {REMEDY}") from error


def _has_config(folder: Path) -> None:
    modelfiles.real(folder / "transformer" / "config.json")


class Work(NamedTuple):
    """The parameters of a FLUX's transformer, and the floating-point operations of a picture."""

    parameters: float
    operations: float


def work(config: RendererConfig) -> Work:
    """Counted from ``transformer/config.json``: a double block has 36 d² parameters, of which each token passes 12 d²,
    a single block 15 d² and 12 d². Decoding takes 10 MFLOP a pixel in FLUX.1's VAE."""
    values = transformer_config(config)
    d = values.get("num_attention_heads", 24) * values.get("attention_head_dim", 128)
    double, single = values.get("num_layers", 19), values.get("num_single_layers", 38)
    tokens = config.height * config.width / 256 + config.max_sequence_length
    step = (double + single) * (24 * d**2 * tokens + 4 * d * tokens**2)
    parameters = (36 * double + 15 * single) * d**2
    return Work(parameters, config.steps * step + (1e7 * config.height * config.width if parameters > LARGE else 0))


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
        for path in modelfiles.read_files(folder / part):
            with open(path, "rb") as file:
                size = path.stat().st_size
                total.update(f"{part}/{path.name}:{size}".encode())
                total.update(file.read(1 << 16))
                file.seek(max(0, size - (1 << 16)))
                total.update(file.read())
    return total.hexdigest()[:16]


def load_text_encoders(config: RendererConfig, device: str) -> Pipeline:
    """The pipeline with only its text encoders, for text targets."""
    return _load(config, TEXT_PARTS, {part: _on(device) for part in TEXT_PARTS[:2]})


def _on(device: str) -> dict[str, Any]:
    """Options that load weights to a device, without a copy in main memory."""
    return {} if device == "cpu" else {"device_map": {"": device}}


def sizes(config: RendererConfig, parts: Sequence[str]) -> dict[str, int]:
    """Bytes that each of ``parts`` will take in memory, from the headers of their files."""
    try:
        return memory.stored_bytes(fetched(config, parts), parts, config.dtype, config.quantization)
    except modelfiles.Incomplete as error:
        raise VegasError(f"renderer.model={config.model} cannot be opened: {error}") from error


def dimensions(config: RendererConfig) -> tuple[dict[str, int], int]:
    """The bytes of what draws, by part, and the width of its transformer."""
    heads = transformer_config(config)
    width = heads.get("num_attention_heads", 24) * heads.get("attention_head_dim", 128)
    return sizes(config, PICTURE_PARTS), width


def load_pipeline(config: RendererConfig, device: str = "cpu") -> Pipeline:
    """The pipeline without its text encoders, its weights on ``device``; a quantised transformer may be put on the GPU
    by the library that quantises it."""
    quantised = memory.quantization(config)
    transformer = {"quantization_config": quantised} if quantised is not None else _on(device)
    pipeline = _load(config, (*PICTURE_PARTS, "scheduler"), {"transformer": transformer, "vae": _on(device)})
    if config.quantization == "fp8":
        from diffusers.hooks import apply_layerwise_casting

        dtype = getattr(torch, config.dtype)
        apply_layerwise_casting(pipeline.transformer, torch.float8_e4m3fn, dtype, skip_modules_pattern=("norm_out",))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae.to(memory_format=torch.channels_last)  # the fastest for convolutions, on CPUs and GPUs
    return pipeline


def incomplete(
    config: RendererConfig, parts: Sequence[str] = (*PICTURE_PARTS, "scheduler"), strict: bool = False
) -> str | None:
    """What is wrong with ``parts`` of a local model folder, as a sentence; None if nothing is, or if the model is on
    the hub. With ``strict``, also whether the weights are those that the configurations describe."""
    if not Path(location(config)).is_dir():
        return None
    try:
        folder = fetched(config, parts)
        if strict:
            components.check_weights(folder, parts)
    except modelfiles.Incomplete as error:
        return f"renderer.model={config.model} cannot be opened: {error}"
    except VegasError as error:
        return str(error)
    return None


def _load(config: RendererConfig, parts: Sequence[str], options: dict[str, Any]) -> Pipeline:
    """A pipeline of some components."""
    folder, dtype = fetched(config, parts), getattr(torch, config.dtype)
    found: dict[str, Any] = dict.fromkeys((*TEXT_PARTS, *PICTURE_PARTS, "scheduler"))
    for part in parts:
        try:
            found[part] = components.load(folder, part, dtype, **options.get(part, {}))
        except modelfiles.Incomplete as error:
            raise VegasError(f"renderer.model={config.model} cannot be opened: {error}") from error
        except VegasError:
            raise
        except Exception as error:  # of a damaged file, tokenizers raises anything
            if devices.out_of_memory(error):
                raise
            raise VegasError(
                f"renderer.model={config.model}: its {part} cannot be opened ({first_line(error)}); {REMEDY}"
            ) from error
    import diffusers

    return diffusers.FluxPipeline(**found)
