"""AST, the Audio Spectrogram Transformer (Gong, Chung, Glass, 2021), through transformers.

It cuts a log-mel spectrogram of 10.24 s (shorter clips are padded, longer ones cut) into overlapping patches,
12 over frequency by 101 over time, and puts a CLS and a distillation token before them.
"""

import contextlib
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

from vegas_fl.audio.encoders.base import AudioEncoder, hash_files, in_equal_batches, pool_time
from vegas_fl.core import hub
from vegas_fl.core.errors import VegasError

FILES = ("config.json", "preprocessor_config.json", "model.safetensors")

SPECIAL = 2
"""Tokens before the patches: CLS and distillation."""

FRAME_SHIFT = 0.010
"""Seconds between spectrogram frames."""


@dataclass(frozen=True)
class Grid:
    """Patches of a spectrogram: ``bands`` over frequency, ``times`` over time (``stride`` frames apart)."""

    bands: int
    times: int
    stride: int

    @classmethod
    def of(cls, config: ASTConfig) -> Self:
        patch = config.patch_size
        assert isinstance(patch, int)

        def count(length: int, stride: int) -> int:
            return (length - patch) // stride + 1

        bands = count(config.num_mel_bins, config.frequency_stride)
        return cls(bands, count(config.max_length, config.time_stride), config.time_stride)

    @property
    def all(self) -> int:
        return SPECIAL + self.bands * self.times

    def check(self, tokens: int) -> None:
        """Raise :class:`VegasError` unless AST can produce this number of tokens."""
        if tokens > self.times and tokens != self.all:
            raise VegasError(
                f"encoder.tokens={tokens}; for this AST, expected 1 (CLS), 2 to {self.times} (pooled over time) or "
                f"{self.all} (all)"
            )


class AstEncoder(AudioEncoder):
    """AST's last hidden states.

    ``tokens`` = 1 keeps the CLS token; the full number (1214 for AudioSet's AST) keeps all tokens. For a number
    between, CLS and distillation are dropped, and the patches are averaged over frequency and pooled over time,
    without those that are only padding.
    """

    def __init__(self, folder: Path, tokens: int, device: str = "cpu", batch_size: int = 1) -> None:
        self._batch_size = batch_size
        self._network = ASTModel.from_pretrained(folder, local_files_only=True).eval().to(device)  # type: ignore[arg-type]
        self._network.requires_grad_(False)
        self._extractor = ASTFeatureExtractor.from_pretrained(folder, local_files_only=True)
        self._grid = Grid.of(self._network.config)
        self._grid.check(tokens)
        self._device = device
        self.rate, self.tokens, self.width = (self._extractor.sampling_rate, tokens, self._network.config.hidden_size)
        self.fingerprint = fingerprint(folder, tokens)

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[np.ndarray]) -> torch.Tensor:
        features = self._extractor(list(waveforms), sampling_rate=self.rate, return_tensors="pt").input_values
        hidden = in_equal_batches(
            lambda part: self._network(part).last_hidden_state, features.to(self._device), self._batch_size
        )
        hidden = hidden.float().cpu()
        if self.tokens == 1:
            return hidden[:, :1].clone()
        if self.tokens == self._grid.all:
            return hidden
        over_time = hidden[:, SPECIAL:].unflatten(1, (self._grid.bands, self._grid.times)).mean(1)
        return torch.stack(
            [
                pool_time(frames[: self._reached(len(w))], self.tokens)
                for frames, w in zip(over_time, waveforms, strict=True)
            ]
        )

    def _reached(self, size: int) -> int:
        """Number of patches over time that begin within a clip of ``size`` samples."""
        frames = size / self.rate / FRAME_SHIFT
        return min(self._grid.times, max(1, -(-int(frames) // self._grid.stride)))


def locate(model: str, revision: str | None) -> Path:
    """The folder of a model: ``model`` itself, or the downloaded copy from the hub.

    Raises
    ------
    VegasError
        It is neither a folder with the files nor on the hub, or the hub is not reachable.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        try:
            folder = _download(model, revision)
        except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
            raise VegasError(
                f"encoder.model={model} is not a folder and cannot be downloaded from the hub "
                f"({str(error).splitlines()[0]}); download it first and name its folder, or use encoder=yamnet"
            ) from error
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise VegasError(f"encoder.model={model} lacks {', '.join(missing)}; expected {', '.join(FILES)}")
    return folder


@functools.lru_cache
def _download(model: str, revision: str | None) -> Path:
    """The hub's copy on this machine. The hub is contacted once in a process, and not for a commit that is already
    here."""
    get = functools.partial(snapshot_download, model, revision=revision, allow_patterns=list(FILES))
    with contextlib.suppress(LocalEntryNotFoundError):
        here = Path(get(local_files_only=True))
        fixed = re.fullmatch("[0-9a-f]{40}", revision or "")
        if all((here / name).is_file() for name in FILES) and (fixed or hub.problem()):
            return here
    if problem := hub.problem():
        raise OSError(problem)
    return Path(get())


def fingerprint(folder: Path, tokens: int) -> str:
    """Short hash of everything that determines the embeddings, without loading the network."""
    Grid.of(ASTConfig.from_pretrained(folder, local_files_only=True)).check(tokens)
    return hash_files([folder / name for name in FILES], "ast", "cls | time | all", tokens)


def width(folder: Path) -> int:
    """The width D of a model's tokens."""
    config: ASTConfig = ASTConfig.from_pretrained(folder, local_files_only=True)
    return int(config.hidden_size)
