"""Text targets: the embeddings of class prompts by FLUX's two text encoders, which the adapters learn to predict."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.config import RendererConfig
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError
from vegas_fl.data.classes import prompt
from vegas_fl.rendering import flux
from vegas_fl.rendering.components import TEXT_PARTS
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.tensorfiles import State

log = logging.getLogger(__name__)

PROMPTS_AT_ONCE = 64
"""Prompts per pass of the text encoders."""
WORKING = 1e9
"""Bytes of GPU memory that they take besides their weights, at most."""
ALIKE = 1e-2
"""Distance of two targets, as a share of their length, below which they are the same but for rounding."""


def text_targets(classes: Sequence[str], config: RendererConfig, cache: Path, device: str) -> Conditioning:
    """The embeddings of the prompts of K classes: clip ``[K, P]``, t5 ``[K, T, C]``, float32, in their order.

    Raises
    ------
    VegasError
        Two classes with different prompts have nearly the same target in a branch, so that nothing could tell them
        apart.
    """
    prompts = [prompt(name) for name in classes]
    targets = prompt_targets(prompts, config, cache, device)
    first = {text: position for position, text in reversed([*enumerate(prompts)])}  # synonyms share their target
    for branch, value in targets._asdict().items():
        rows = value.flatten(1)[list(first.values())]
        apart = torch.cdist(rows, rows) / rows.norm(dim=1).clamp(min=1e-12)
        apart.fill_diagonal_(1)
        if len(rows) > 1 and float(apart.min()) < ALIKE:
            one, other = (list(first)[i] for i in divmod(int(apart.argmin()), len(rows)))
            raise VegasError(
                f"{one!r} and {other!r} have nearly the same text target in the {branch} branch, so nothing can tell "
                f"their classes apart: the tokenizer or text encoder of renderer.model={config.model} may be damaged "
                f"(copy the model again), or they differ only beyond renderer.max_sequence_length="
                f"{config.max_sequence_length} tokens, or in capital letters (rename a class)"
            )
    return targets


def prompt_targets(prompts: Sequence[str], config: RendererConfig, cache: Path, device: str) -> Conditioning:
    """The embeddings of N prompts.

    Cached in ``cache`` by encoder fingerprint and prompt: the text encoders (9.8 GB for FLUX.1) are loaded only for
    new prompts, on the CPU if the device has no room for them, and freed afterwards.

    Returns
    -------
    Conditioning
        clip ``[N, P]``, t5 ``[N, T, C]``, float32, in the order of ``prompts``.

    Raises
    ------
    VegasError
        A text encoder returns values that are not finite, or memory runs out even on the CPU.
    """
    fingerprint = flux.text_fingerprint(config)
    paths = {text: cache / "targets" / fingerprint / f"{_key(text)}.safetensors" for text in prompts}
    known = {text: state for text, path in paths.items() if (state := _kept(path, text)) is not None}
    if missing := [text for text in paths if text not in known]:
        devices.release(device)  # frees the memory of other networks
        needed, free = sum(flux.sizes(config, TEXT_PARTS[:2]).values()) + WORKING, devices.free_bytes(device)
        if free is not None and needed > free:
            log.info("the text encoders take %.1f GB, %.1f GB are free: they run on the CPU", needed / 1e9, free / 1e9)
            device = "cpu"
        for text, state in devices.sparing(
            lambda batch, place: _encode(missing, config, place, batch), PROMPTS_AT_ONCE, device, "the text encoders"
        ).items():
            known[text] = state
            try:
                tensorfiles.save(paths[text], state, {"prompt": text})
            except VegasError as error:
                log.warning("the text target of %r is not kept: %s", text, error)
    return Conditioning(*(torch.stack([known[text][branch] for text in prompts]) for branch in ("clip", "t5")))


def _encode(prompts: Sequence[str], config: RendererConfig, device: str, at_once: int) -> dict[str, State]:
    """Prompt → its targets, by newly loaded text encoders."""
    pipeline = flux.load_text_encoders(config, device)
    length = config.max_sequence_length
    found: dict[str, State] = {}
    cut: list[str] = []
    for start in range(0, len(prompts), at_once):
        batch = list(prompts[start : start + at_once])
        with torch.no_grad():
            t5, clip, _ = pipeline.encode_prompt(batch, None, device=torch.device(device), max_sequence_length=length)
        cut += [
            text for text, ids in zip(batch, pipeline.tokenizer_2(batch).input_ids, strict=True) if len(ids) > length
        ]
        for text, clip_target, t5_target in zip(batch, clip.float(), t5.float(), strict=True):
            if not (clip_target.isfinite().all() and t5_target.isfinite().all()):
                raise VegasError(
                    f"the text encoders of renderer.model={config.model} give values that are not finite for "
                    f"{text!r} (renderer.dtype={config.dtype}); set renderer.dtype=float32 or bfloat16, or "
                    "copy the model again"
                )
            found[text] = {"clip": clip_target.cpu(), "t5": t5_target.cpu()}
    if cut:
        log.warning(
            "%d of %d texts are cut at renderer.max_sequence_length=%d T5 tokens, such as %r; set a larger one",
            len(cut), len(prompts), length, cut[0],
        )  # fmt: skip
    return found


def _kept(path: Path, text: str) -> State | None:
    """The cached targets of a prompt; None if they are missing, or damaged or of another one, which is logged."""
    try:
        state = tensorfiles.load(path, prompt=text).tensors if path.exists() else None
        if state is not None and {name: tensor.ndim for name, tensor in state.items()} != {"clip": 1, "t5": 2}:
            raise VegasError(f"{path} holds other tensors than expected")
        return state
    except VegasError as error:
        log.warning("the text target of %r is computed again: %s", text, error)
        return None


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
