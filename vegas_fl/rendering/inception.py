"""The network of FID and KID as most papers report them: Inception-v3 as TensorFlow's FID script used it (2015-12-05).

Its weights, which are not shipped, are ``pt_inception-2015-12-05-6726825d.pth`` of pytorch-fid, the same file as
torch-fidelity's ``weights-inception-2015-12-05-6726825d.pth``. It differs from torchvision's Inception-v3: average
pools ignore their padding, the last block pools by the maximum, and pictures are resized as TensorFlow 1 did.
"""

import functools
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vegas_fl.core import devices, modelfiles
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import picture_file

BATCH, SIDE = 50, 299

Conv = tuple[str, int, int | tuple[int, int], int]
"""Name, channels, kernel (height, width) and stride of a convolution; with stride 1 it is padded to keep the size."""

POOL = "branch_pool"


class _Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = True):
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if pad and stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Block(nn.Module):
    """Chains of convolutions side by side, and a pool. A chain's last convolutions share one input if their names end
    in a and b."""

    def __init__(self, inputs: int, *chains: Sequence[Conv], pool: int = 0, largest: bool = False) -> None:
        super().__init__()
        self._chains, self._largest, self.outputs = [[conv[0] for conv in chain] for chain in chains], largest, 0
        for chain in chains:
            width = inputs
            for name, channels, kernel, stride in chain:
                self.add_module(name, _Conv(width, channels, kernel, stride))
                last = name == chain[-1][0] or name.endswith("a")
                width, self.outputs = width if name.endswith("a") else channels, self.outputs + channels * last
        if pool:
            self.add_module(POOL, _Conv(inputs, pool, 1))
        self._stride = 1 if pool else 2
        self.outputs += pool or inputs

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        for names in self._chains:
            y = x
            for name in names:
                z = getattr(self, name)(y)
                if name.endswith("a") or name == names[-1]:
                    parts.append(z)
                y = y if name.endswith("a") else z
        if self._stride == 2:
            return torch.cat([*parts, F.max_pool2d(x, 3, 2)], 1)
        pooled = F.max_pool2d(x, 3, 1, 1) if self._largest else F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return torch.cat([*parts, getattr(self, POOL)(pooled)], 1)


def _chain(name: str, *convs: tuple[int, int | tuple[int, int]], stride: int = 1) -> list[Conv]:
    """A chain whose convolutions are numbered; its last one has the stride."""
    one = len(convs) == 1
    return [
        (name if one else f"{name}_{i}", channels, kernel, stride if i == len(convs) else 1)
        for i, (channels, kernel) in enumerate(convs, 1)
    ]


def _a(inputs: int, pool: int) -> _Block:
    double = _chain("branch3x3dbl", (64, 1), (96, 3), (96, 3))
    return _Block(inputs, _chain("branch1x1", (64, 1)), _chain("branch5x5", (48, 1), (64, 5)), double, pool=pool)


def _c(width: int) -> _Block:
    row, column = (1, 7), (7, 1)
    seven = _chain("branch7x7", (width, 1), (width, row), (192, column))
    double = _chain("branch7x7dbl", (width, 1), (width, column), (width, row), (width, column), (192, row))
    return _Block(768, _chain("branch1x1", (192, 1)), seven, double, pool=192)


def _e(inputs: int, largest: bool) -> _Block:
    def split(name: str, i: int) -> list[Conv]:
        return [(f"{name}_{i}a", 384, (1, 3), 1), (f"{name}_{i}b", 384, (3, 1), 1)]

    three: list[Conv] = [("branch3x3_1", 384, 1, 1), *split("branch3x3", 2)]
    double = [*_chain("branch3x3dbl", (448, 1), (384, 3)), *split("branch3x3dbl", 3)]
    return _Block(inputs, _chain("branch1x1", (320, 1)), three, double, pool=192, largest=largest)


class Inception(nn.Sequential):
    """Pictures ``[N, 3, 299, 299]`` of 0…255 to features ``[N, 2048]``."""

    def __init__(self) -> None:
        super().__init__()
        row, column = (1, 7), (7, 1)
        double = _chain("branch3x3dbl", (64, 1), (96, 3), (96, 3), stride=2)
        seven = _chain("branch7x7x3", (192, 1), (192, row), (192, column), (192, 3), stride=2)
        for name, layer in {
            "Conv2d_1a_3x3": _Conv(3, 32, 3, 2),
            "Conv2d_2a_3x3": _Conv(32, 32, 3, pad=False),
            "Conv2d_2b_3x3": _Conv(32, 64, 3),
            "MaxPool_1": nn.MaxPool2d(3, 2),
            "Conv2d_3b_1x1": _Conv(64, 80, 1),
            "Conv2d_4a_3x3": _Conv(80, 192, 3, pad=False),
            "MaxPool_2": nn.MaxPool2d(3, 2),
            "Mixed_5b": _a(192, 32),
            "Mixed_5c": _a(256, 64),
            "Mixed_5d": _a(288, 64),
            "Mixed_6a": _Block(288, [("branch3x3", 384, 3, 2)], double),
            **{f"Mixed_6{letter}": _c(width) for letter, width in zip("bcde", (128, 160, 160, 192), strict=True)},
            "Mixed_7a": _Block(768, _chain("branch3x3", (192, 1), (320, 3), stride=2), seven),
            "Mixed_7b": _e(1280, False),
            "Mixed_7c": _e(2048, True),
        }.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - 128) / 128).mean((2, 3))


def load(path: str) -> Inception:
    """The network with its weights, on the CPU.

    Raises
    ------
    VegasError
        The file does not hold them.
    """
    file = Path(path).expanduser()
    with torch.device("meta"):
        network = Inception().eval()
    try:
        state = torch.load(modelfiles.real(file), map_location="cpu", weights_only=True)
        own = {name: tensor for name, tensor in dict(state).items() if not name.startswith("fc.")}
        network.load_state_dict(own, assign=True)
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise _unusable(path, "these are not its weights") from error
    except VegasError as error:
        raise _unusable(path, str(error)) from error
    return network.float().requires_grad_(False)


def _unusable(path: str, why: str) -> VegasError:
    return VegasError(
        f"evaluation.inception={path} cannot be used: {why}; expected pt_inception-2015-12-05-6726825d.pth of "
        "pytorch-fid, or null to compare on the judge's features"
    )


_loaded = functools.lru_cache(maxsize=1)(load)


def features(path: str, device: str, pictures: Sequence[Path]) -> Tensor:
    """Features ``[N, 2048]`` of pictures, with the weights in ``path``."""

    @torch.no_grad()
    def run(batch: int, place: str) -> Tensor:
        network, parts = _loaded(path).to(place), [torch.zeros(0, 2048)]
        try:
            for start in range(0, len(pictures), batch):
                images = [picture_file.read(one).convert("RGB") for one in pictures[start : start + batch]]
                arrays = [torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() for image in images]
                parts.append(network(torch.cat([_resized(one.to(place)) for one in arrays])).cpu())
        finally:
            network.to("cpu")
        if not (found := torch.cat(parts)).isfinite().all():
            raise _unusable(path, "it gives values that are not finite")
        return found

    return devices.sparing(run, BATCH, device, f"evaluation.inception={path}")


def _resized(x: Tensor) -> Tensor:
    """Pictures ``[N, C, H, W]`` at 299 × 299: bilinear, with the pixels' corners as positions, as in TensorFlow 1."""
    for dim in (2, 3):
        size = x.shape[dim]
        position = torch.arange(SIDE, device=x.device) * (size / SIDE)
        low = position.long()
        share = (position - low).view(-1, *[1] * (3 - dim))
        below, above = x.index_select(dim, low), x.index_select(dim, (low + 1).clamp(max=size - 1))
        x = below + (above - below) * share
    return x
