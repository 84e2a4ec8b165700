"""What every audio encoder does: waveforms in, a fixed number of tokens out."""

import abc
import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

FORMAT = 1
"""Increased whenever the same weights and settings give different embeddings."""


class AudioEncoder(abc.ABC):
    """A frozen network that turns clips into audio embeddings."""

    rate: int  # sample rate of its input, in Hz
    tokens: int  # S of an audio embedding [S, D]
    width: int  # D
    fingerprint: str  # short hash of everything that determines the embeddings: weights, pooling, FORMAT

    @abc.abstractmethod
    def encode(self, waveforms: Sequence[np.ndarray]) -> torch.Tensor:
        """Embed a batch of clips.

        Parameters
        ----------
        waveforms : B arrays [N_i]
            Mono samples in [-1, 1] at ``rate``; lengths may differ.

        Returns
        -------
        torch.Tensor [B, S, D]
            float32, on the CPU.
        """


def pool_time(frames: torch.Tensor, tokens: int) -> torch.Tensor:
    """Average ``[F, D]`` over time to ``[tokens, D]``; fewer frames than tokens are repeated."""
    return F.adaptive_avg_pool1d(frames.T[None], tokens)[0].T


def in_equal_batches(network: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, size: int) -> torch.Tensor:
    """``network`` of ``inputs`` ``[N, ...]``, always ``size`` at a time; zeros fill the last batch.

    Kernels round differently for other batch sizes; this way, a clip's embedding does not depend on its batch.
    """
    outputs = []
    for part in inputs.split(size):
        filled = torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])]) if len(part) < size else part
        outputs.append(network(filled)[: len(part)])
    return torch.cat(outputs)


def hash_files(files: Iterable[Path], *settings: object) -> str:
    """Short hash of files' contents and of settings."""
    total = hashlib.sha256("\x1f".join(map(str, (FORMAT, *settings))).encode())
    for path in files:
        state = path.stat()
        total.update(_digest(path.resolve(), state.st_mtime_ns, state.st_size))
    return total.hexdigest()[:16]


@functools.lru_cache
def _digest(path: Path, modified: int, size: int) -> bytes:
    """SHA-256 of a file, which may be large: computed once in a process."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
