"""YAMNet: a MobileNet trained on AudioSet's 521 classes, in PyTorch.

After M. Plakal and D. Ellis, YAMNet, TensorFlow Models, research/audioset/yamnet (Apache-2.0), where the weights come
from; the outputs agree.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from vegas_fl.audio.encoders.base import AudioEncoder, hash_files, in_equal_batches, pool_time
from vegas_fl.core import devices, modelfiles, pack
from vegas_fl.core.errors import VegasError
from vegas_fl.storage.tensorfiles import misfit

RATE = 16_000
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms every 10 ms
PATCH, PATCH_HOP = 96, 48  # spectrogram rows: 0.96 s every 0.48 s
SHORTEST = WINDOW + (PATCH - 1) * HOP  # samples that one patch needs: 0.975 s
BANDS, LOWEST, HIGHEST = 64, 125.0, 7500.0  # mel bands between two frequencies in Hz
WIDTH, CLASSES = 1024, 521
SEPARABLE = [(1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5, (2, 1024), (1, 1024)]
"""Stride and width of each depthwise-separable layer."""

PATCHES_AT_ONCE = 40
"""Patches in a forward pass: larger batches do not fit a CPU's cache and are slower."""


class YamNetEncoder(AudioEncoder):
    """YAMNet's last features, averaged over each patch: a token every 0.48 s, pooled to ``tokens``."""

    def __init__(self, folder: Path, tokens: int, device: str = "cpu") -> None:
        self.rate, self.tokens, self.width = RATE, tokens, WIDTH
        self.fingerprint = fingerprint(folder, tokens)
        self._batch, self._device = PATCHES_AT_ONCE, device
        self.network = load_network(folder)

    def encode(self, waveforms: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.stack([pool_time(frames, self.tokens) for frames in self.features(waveforms)])

    @torch.inference_mode()
    def features(self, waveforms: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """For each clip, the features of its patches ``[F_i, 1024]``; the patches of all clips are batched together."""

        def run(batch: int, device: str) -> list[torch.Tensor]:
            network = self.network.to(device)
            patches = [network.patches(torch.as_tensor(w, device=device)) for w in waveforms]
            features = in_equal_batches(network.features, torch.cat(patches), batch)
            self._batch, self._device = batch, device
            return list(features.cpu().split([len(p) for p in patches]))

        return devices.sparing(run, self._batch, self._device, "YAMNet")


class YamNet(nn.Module):
    """The network, with batch norms as in its files."""

    mel: torch.Tensor
    window: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        layers, width = [ConvNormReLU(1, 32, 3, 2)], 32
        for stride, out in SEPARABLE:
            layers += [ConvNormReLU(width, width, 3, stride, width), ConvNormReLU(width, out, 1, 1)]
            width = out
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(WIDTH, CLASSES)
        self.register_buffer("mel", mel_matrix(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=True), persistent=False)

    def patches(self, waveform: torch.Tensor) -> torch.Tensor:
        """Log-mel patches ``[F, 1, 96, 64]`` of a waveform ``[N]``; its end is padded with zeros to whole patches."""
        hop = PATCH_HOP * HOP
        hops = max(0, -(-(len(waveform) - SHORTEST) // hop))
        waveform = F.pad(waveform, (0, SHORTEST + hops * hop - len(waveform)))
        spectrum = torch.fft.rfft(waveform.unfold(0, WINDOW, HOP) * self.window, FFT).abs()
        log_mel = torch.log(spectrum @ self.mel + 1e-3)
        return log_mel.unfold(0, PATCH, PATCH_HOP).transpose(1, 2)[:, None]

    def features(self, patches: torch.Tensor) -> torch.Tensor:
        """``[F, 1, 96, 64]`` → ``[F, 1024]``."""
        return self.body(patches.contiguous(memory_format=torch.channels_last)).mean((2, 3))


class ConvNormReLU(nn.Module):
    """Convolution with TensorFlow's SAME padding, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.same = (0, 1, 0, 1) if stride == 2 else None  # of an even length; on both sides otherwise
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, 0 if self.same else kernel // 2, groups=groups, bias=False
        )
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.same:
            x = F.pad(x, self.same)
        return F.relu(self.norm(self.conv(x)), inplace=True)


def mel_matrix() -> torch.Tensor:
    """Spectrum bins to mel bands ``[257, 64]``: triangles of height one, equally wide on HTK's mel scale."""
    from transformers.audio_utils import mel_filter_bank

    matrix = mel_filter_bank(
        FFT // 2 + 1, BANDS, LOWEST, HIGHEST, RATE, mel_scale="htk", triangularize_in_mel_space=True
    )
    matrix[0] = 0  # the constant part is in no band
    return torch.tensor(matrix, dtype=torch.float32)


def load_network(folder: Path) -> YamNet:
    """The network with the weights of a folder, its batch norms part of the convolutions, ready for inference."""
    network = YamNet().eval()
    path = weights(folder)
    try:
        state = {name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()}
    except SafetensorError as error:
        raise VegasError(f"{path} cannot be read ({error}); rebuild it with `make pack`") from error
    if problem := misfit(state, network.state_dict()):
        raise VegasError(f"{path} does not contain YAMNet's weights: {problem}; rebuild it with `make pack`")
    network.load_state_dict(state)
    for layer in network.modules():
        if isinstance(layer, ConvNormReLU):  # one convolution is the same function, and faster
            assert isinstance(layer.norm, nn.BatchNorm2d)
            layer.conv, layer.norm = nn.utils.fusion.fuse_conv_bn_eval(layer.conv, layer.norm), nn.Identity()
    return network.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def label_head(folder: Path) -> tuple[list[str], nn.Linear]:
    """The names of AudioSet's classes, and the layer that maps features ``[*, 1024]`` to a logit for each."""
    names: list[str] = json.loads((folder / "classes.json").read_text("utf8"))
    return names, load_network(folder).classifier


def locate(model: str) -> Path:
    """The folder that ``encoder.model`` names; ``pack`` is the tiny pack's.

    Raises
    ------
    VegasError
        The tiny pack is not installed.
    """
    if model == "pack":
        return pack.model_folder("yamnet")
    return Path(model).expanduser()


def weights(folder: Path) -> Path:
    """The file of weights in a folder; VegasError if it does not exist."""
    path = folder / "yamnet.safetensors"
    if modelfiles.lfs_pointer(path):
        modelfiles.real(path)
    if not path.is_file():
        raise VegasError(f"YAMNet's weights not found at {path}; set encoder.model=pack")
    return path


def fingerprint(folder: Path, tokens: int) -> str:
    """Short hash of everything that determines the embeddings, without loading the network."""
    return hash_files([weights(folder)], "yamnet", "mean", tokens)
