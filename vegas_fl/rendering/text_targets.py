"""Text targets: the embeddings of class prompts by FLUX's two text encoders, which the adapters learn to predict."""

from __future__ import annotations

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
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.tensorfiles import Damaged, State

log = logging.getLogger(__name__)

PROMPTS_AT_ONCE = 64
"""Prompts per pass of the text encoders."""


def text_targets(classes: Sequence[str], config: RendererConfig, cache: Path, device: str) -> Conditioning:
    """The embeddings of the prompts of K classes: clip ``[K, P]``, t5 ``[K, T, C]``, float32, in their order."""
    return prompt_targets([prompt(name) for name in classes], config, cache, device)


def prompt_targets(prompts: Sequence[str], config: RendererConfig, cache: Path, device: str) -> Conditioning:
    """The embeddings of N prompts.

    Cached in ``cache`` by encoder fingerprint and prompt: the text encoders (9.8 GB for FLUX.1) are loaded only for
    new prompts, and freed afterwards.

    Returns
    -------
    Conditioning
        clip ``[N, P]``, t5 ``[N, T, C]``, float32, in the order of ``prompts``.

    Raises
    ------
    VegasError
        A text encoder returns values that are not finite.
    """
    fingerprint = flux.text_fingerprint(config)
    paths = {text: cache / "targets" / fingerprint / f"{_key(text)}.safetensors" for text in prompts}
    known = {text: state for text, path in paths.items() if (state := _kept(path, text)) is not None}
    if missing := [text for text in paths if text not in known]:
        pipeline = flux.load_text_encoders(config, device)
        for start in range(0, len(missing), PROMPTS_AT_ONCE):
            batch = missing[start : start + PROMPTS_AT_ONCE]
            with torch.no_grad():
                t5, clip, _ = pipeline.encode_prompt(batch, None, max_sequence_length=config.max_sequence_length)
            for text, clip_target, t5_target in zip(batch, clip.float(), t5.float(), strict=True):
                if not (clip_target.isfinite().all() and t5_target.isfinite().all()):
                    raise VegasError(
                        f"the text encoders of renderer.model={config.model} give values that are not finite for "
                        f"{text!r} (renderer.dtype={config.dtype}); set renderer.dtype=float32 or bfloat16, or "
                        "copy the model again"
                    )
                known[text] = {"clip": clip_target.cpu(), "t5": t5_target.cpu()}
                tensorfiles.save(paths[text], known[text], {"prompt": text})
        del pipeline
        devices.release(device)
    return Conditioning(*(torch.stack([known[text][branch] for text in prompts]) for branch in ("clip", "t5")))


def _kept(path: Path, text: str) -> State | None:
    """The cached targets of a prompt; None if they are missing, or damaged, which is logged."""
    try:
        return tensorfiles.load(path, prompt=text).tensors if path.exists() else None
    except Damaged as error:
        log.warning("the text target of %r is computed again: %s", text, error)
        return None


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
