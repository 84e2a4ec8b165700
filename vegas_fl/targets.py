"""Text targets: what a class prompt looks like to FLUX's two text encoders. The adapters learn to say the same."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vegas_fl import devices, tensorfiles
from vegas_fl.adapters import Conditioning
from vegas_fl.classes import prompt
from vegas_fl.config import RendererConfig
from vegas_fl.rendering import flux
from vegas_fl.tensorfiles import Damaged, State

log = logging.getLogger(__name__)

PROMPTS_AT_ONCE = 64
"""Prompts a pass of the text encoders."""


def text_targets(classes: Sequence[str], config: RendererConfig, cache: Path, device: str) -> Conditioning:
    """The embeddings of the prompts of K classes: clip ``[K, P]``, t5 ``[K, T, C]``, float32, in their order."""
    return prompt_targets([prompt(name) for name in classes], config, cache, device)


def prompt_targets(prompts: Sequence[str], config: RendererConfig, cache: Path, device: str) -> Conditioning:
    """The embeddings of N prompts.

    Kept in ``cache`` by encoder fingerprint and prompt, so the text encoders (9.8 GB of FLUX.1) are loaded
    only for prompts that were never seen, and freed at once.

    Returns
    -------
    Conditioning
        clip ``[N, P]``, t5 ``[N, T, C]``, float32, in the order of ``prompts``.
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
                known[text] = {"clip": clip_target.cpu(), "t5": t5_target.cpu()}
                tensorfiles.save(paths[text], known[text], {"prompt": text})
        del pipeline
        devices.release(device)
    return Conditioning(*(torch.stack([known[text][branch] for text in prompts]) for branch in ("clip", "t5")))


def _kept(path: Path, text: str) -> State | None:
    """What the cache has of a prompt; a damaged file is told and made again."""
    try:
        return tensorfiles.load(path, prompt=text).tensors if path.exists() else None
    except Damaged as error:
        log.warning("the text target of %r is made again: %s", text, error)
        return None


def spread(classes: Conditioning, labels: Tensor, own: Conditioning) -> Conditioning:
    """Targets that differ within a class, only in what classes do not differ in.

    A prompt of several adjectives may lie nearer to another class's prompt than to its own's. So of each clip's own
    prompt only the difference from the mean of its class's is taken, and of that only what is orthogonal to all
    differences between class targets:

        target = class + (I - V'V) (own - mean of own over the class),    V: :func:`between`

    By Pythagoras a clip's target is then as far from every class target as its own class's is, but for one term that is
    the same for all: the nearest is its own, whatever the adjectives, and what adapters are taught about classes is
    the same as without adjectives.

    V takes at most K - 1 directions of a branch: for 50 classes, 49 of FLUX.1's 768 of CLIP and of T * 4096 of T5. With
    more classes than a branch has dimensions nothing may be left; its targets are then those of the classes.

    Parameters
    ----------
    classes : Conditioning
        Targets of K classes: all of the federation, also those the clips are not of.
    labels : Tensor [N]
        The class of each clip.
    own : Conditioning
        Embeddings of the clips' own prompts, N.
    """
    targets = []
    for of_class, of_clip in zip(classes, own, strict=True):
        directions = between(of_class)
        moved = of_class[labels]
        for label in labels.unique():
            mine = labels == label
            apart = (of_clip[mine] - of_clip[mine].mean(0)).flatten(1)
            moved[mine] += (apart - apart @ directions.T @ directions).unflatten(1, of_class.shape[1:])
        targets.append(moved)
    return Conditioning(*targets)


def between(targets: Tensor) -> Tensor:
    """Orthonormal directions ``[R, P]`` that span the differences between K targets ``[K, ...]`` of P numbers each.

    R is at most K - 1, fewer where targets depend on each other or are the same, 0 with one class.
    """
    differences = (targets[1:] - targets[0]).flatten(1).double()
    # Right singular vectors by way of the small matrix [K - 1, K - 1]: P may be a million (256 tokens of 4096).
    squares, mixtures = torch.linalg.eigh(differences @ differences.T)
    sizes = squares.clamp(min=0).sqrt()
    found = sizes > 1e-5 * targets.norm()  # below is rounding, not a difference
    return ((mixtures[:, found] / sizes[found]).T @ differences).to(targets)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
