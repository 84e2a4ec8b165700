"""AST, the Audio Spectrogram Transformer (Gong, Chung, Glass, 2021), through transformers.

It cuts a log-mel spectrogram of 10.24 s (shorter clips are padded, longer ones cut) into overlapping patches,
12 over frequency by 101 over time, and puts a CLS and a distillation token before them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

from vegas_fl.audio.encoders.base import AudioEncoder, hash_files, in_equal_batches, pool_time
from vegas_fl.core import devices, hub, modelfiles
from vegas_fl.core.errors import VegasError, some

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
        self._network = load_network(folder)
        self._extractor = ASTFeatureExtractor.from_pretrained(folder, local_files_only=True)
        self._grid = Grid.of(self._network.config)
        self._grid.check(tokens)
        self._place = ""
        self._device = device
        self.rate, self.tokens, self.width = (self._extractor.sampling_rate, tokens, self._network.config.hidden_size)
        self.fingerprint = fingerprint(folder, tokens)

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[np.ndarray]) -> torch.Tensor:
        features = self._extractor(list(waveforms), sampling_rate=self.rate, return_tensors="pt").input_values
        hidden = devices.sparing(
            lambda batch, device: self._hidden(features, batch, device), self._batch_size, self._device, "the AST"
        )
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

    def _hidden(self, features: torch.Tensor, batch: int, device: str) -> torch.Tensor:
        """Last hidden states ``[B, tokens, D]``; a batch size or device that memory allowed is kept."""
        if self._place != device:
            self._network.to(device)  # type: ignore[arg-type]
            self._place = device
        hidden = in_equal_batches(lambda part: self._network(part).last_hidden_state, features.to(device), batch)
        self._batch_size, self._device = batch, device
        return hidden.float().cpu()

    def _reached(self, size: int) -> int:
        """Number of patches over time that begin within a clip of ``size`` samples."""
        frames = size / self.rate / FRAME_SHIFT
        return min(self._grid.times, max(1, -(-int(frames) // self._grid.stride)))


def load_network(folder: Path) -> ASTModel:
    """The network with the weights of a folder, frozen.

    Raises
    ------
    VegasError
        A tensor is missing or of another shape: the library would draw it at random.
    """
    try:
        found = ASTModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if devices.out_of_memory(error):
            raise
        raise modelfiles.Incomplete(f"{folder} cannot be opened ({str(error).splitlines()[0]})") from error
    network, info = found
    # The classifier of the AudioSet model is not used.
    unexpected = [name for name in info["unexpected_keys"] if not name.startswith("classifier.")]
    modelfiles.check_keys(
        str(folder), info["missing_keys"], unexpected, (str(entry[0]) for entry in info["mismatched_keys"])
    )
    return network.eval().requires_grad_(False)


def locate(model: str, revision: str | None) -> Path:
    """The folder of a model: ``model`` itself, or the downloaded copy from the hub.

    Raises
    ------
    VegasError
        It is neither a folder with the files nor on the hub, or the hub is not reachable.
    """
    folder = Path(model).expanduser()
    try:
        if not folder.is_dir():
            remedy = "download it first and name its folder, or use encoder=yamnet"
            folder = hub.snapshot("encoder.model", model, revision, FILES, _check_files, remedy)
        _check_files(folder)
    except modelfiles.Incomplete as error:
        raise VegasError(f"encoder.model={model}: {error}, or use encoder=yamnet") from error
    return folder


def _check_files(folder: Path) -> None:
    """Raise :class:`Incomplete` if a file is missing or invalid."""
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        found = sorted(path.name for path in folder.glob("*") if path.is_file())
        raise modelfiles.Incomplete(
            f"{folder} lacks {', '.join(missing)}; expected {', '.join(FILES)}, found {some(found) or 'nothing'}; "
            f"{modelfiles.AGAIN}"
        )
    for name in FILES[:2]:
        modelfiles.read_json(folder / name)
    modelfiles.weight_files(folder)


def fingerprint(folder: Path, tokens: int) -> str:
    """Short hash of everything that determines the embeddings, without loading the network."""
    Grid.of(ASTConfig.from_pretrained(folder, local_files_only=True)).check(tokens)
    return hash_files([folder / name for name in FILES], "ast", "cls | time | all", tokens)


def width(folder: Path) -> int:
    """The width D of a model's tokens."""
    config: ASTConfig = ASTConfig.from_pretrained(folder, local_files_only=True)
    return int(config.hidden_size)
