"""Text targets: what a class prompt looks like to FLUX's two text encoders. The adapters learn to say the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from vegas_fl import tensorfiles
from vegas_fl.adapters import Conditioning
from vegas_fl.classes import prompt
from vegas_fl.config import RendererConfig
from vegas_fl.rendering import flux


def text_targets(classes: Sequence[str], config: RendererConfig, cache: Path, device: str) -> Conditioning:
    """The embeddings of the prompts of K classes.

    Kept in ``cache`` by encoder fingerprint and prompt, so the text encoders (9.8 GB of FLUX.1) are loaded
    only for prompts that were never seen, and freed at once.

    Returns
    -------
    Conditioning
        clip ``[K, P]``, t5 ``[K, T, C]``, float32, in the order of ``classes``.
    """
    fingerprint = flux.text_fingerprint(config)
    paths = {name: cache / "targets" / fingerprint / f"{_key(prompt(name))}.safetensors" for name in classes}
    if missing := [name for name, path in paths.items() if not path.exists()]:
        pipeline = flux.load_text_encoders(config, device)
        with torch.no_grad():
            t5, clip, _ = pipeline.encode_prompt(
                [prompt(name) for name in missing], None, max_sequence_length=config.max_sequence_length
            )
        del pipeline
        for name, clip_target, t5_target in zip(missing, clip.float(), t5.float(), strict=True):
            tensorfiles.save(paths[name], {"clip": clip_target, "t5": t5_target}, {"prompt": prompt(name)})
    loaded = [tensorfiles.load(paths[name], prompt=prompt(name)).tensors for name in classes]
    return Conditioning(torch.stack([t["clip"] for t in loaded]), torch.stack([t["t5"] for t in loaded]))


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
