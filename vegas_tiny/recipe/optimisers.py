"""Muon for the judge's matrices, AdamW for its other parameters.

Muon (Jordan et al., 2024) orthogonalises each matrix's update. (The renderer uses only AdamW: its loss rose
with Muon.) PyTorch's implementation works in bfloat16, which is fifty times slower on a CPU without support for it.
"""

import torch
from torch import nn
from torch.optim import AdamW

ELSEWHERE = ("embed", "proj_out", "head", "position")  # embedding tables and outermost layers use AdamW
COEFFICIENTS = (3.4445, -4.775, 2.0315)
MOMENTUM = 0.95


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """Nearest orthogonal matrices of `[N, R, C]`, by five Newton-Schulz steps."""
    wide = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if wide else matrices
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    a, b, c = COEFFICIENTS
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if wide else x


class Both:
    """Muon and AdamW as one optimiser.

    Parameters
    ----------
    model : nn.Module
        Muon updates its inner matrices, AdamW the rest.
    decay : float
        Decoupled weight decay of both.
    """

    def __init__(self, model: nn.Module, decay: float = 0.01) -> None:
        self.decay = decay
        self.groups: dict[torch.Size, list[nn.Parameter]] = {}
        rest = []
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and not any(word in name for word in ELSEWHERE):
                self.groups.setdefault(parameter.shape, []).append(parameter)
            else:
                rest.append(parameter)
        self.momentum = {shape: torch.zeros(len(group), *shape) for shape, group in self.groups.items()}
        self.rest = AdamW(rest, betas=(0.9, 0.99), weight_decay=decay)
        self.parameters = list(model.parameters())

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Clip the gradients, update all parameters with the learning rate `rate`, clear the gradients."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.rest.param_groups[0]["lr"] = rate / 2
        self.rest.step()
        for shape, group in self.groups.items():
            gradients = torch.stack([torch.zeros(shape) if p.grad is None else p.grad for p in group])
            momentum = self.momentum[shape].lerp_(gradients, 1 - MOMENTUM)
            update = orthogonalised(gradients.lerp(momentum, MOMENTUM))
            size = 0.2 * max(shape) ** 0.5  # as large as an update of Adam
            for parameter, change in zip(group, update, strict=True):
                parameter.mul_(1 - rate * self.decay).sub_(change, alpha=rate * size)
        for parameter in self.parameters:
            parameter.grad = None
