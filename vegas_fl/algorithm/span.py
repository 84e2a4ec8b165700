"""Distillation of T5's tokens in the few directions in which class targets differ.

The adapter's widest layer, its readout, gives each of T tokens C numbers (17 and 4096 for FLUX.1), but every token of
every class target lies in ``mean + span(B)``, where the R ≤ T (K - 1) columns of B [C, R] are orthonormal directions
that span the differences of K classes. What a student learns outside is 0. So teachers and student compute only
coordinates ``B' (output - mean)``, with the readout ``sqrt(R / C) B' W`` instead of W, and the trained student gets
``sqrt(C / R) B`` times its small readout. Squared errors are the same in both coordinates; the root keeps those of
targets at a mean square of 1, because AdamW's steps depend on it.
"""

import math

import torch
from torch import Tensor, nn

from vegas_fl.algorithm.adapter import Adapter, AttributesBranch, Branch, Conditioning
from vegas_fl.algorithm.pooling import StatisticsBranch
from vegas_fl.algorithm.targets import directions

LARGE = 2**22
"""Weights of a readout from which on the detour is worth it; FLUX.1's has twice as many."""


class TokenSpan:
    """The span of the differences between T5's class targets, and adapters in its coordinates.

    Parameters
    ----------
    targets : Tensor [K, T, C]
        T5's text targets of all classes.
    hidden : int
        Width of what the adapter's readout reads.

    Attributes
    ----------
    basis : Tensor [C, R] or None
        B. None if the readout is small or T (K - 1) more than C / 2: all methods then return what they are given.
    """

    def __init__(self, targets: Tensor, hidden: int) -> None:
        self.basis: Tensor | None = None
        self.mean = targets.float().mean(0)
        differences = (targets[1:] - targets[0]).flatten(0, 1)
        if hidden * targets.shape[-1] >= LARGE and 0 < 2 * len(differences) <= targets.shape[-1]:
            self.basis = directions(differences, targets.norm()).T.contiguous()

    def coordinates(self, targets: Conditioning) -> Conditioning:
        """Targets with the coordinates of T5's: ``[N, T, C]`` to ``[N, T, R]``."""
        return targets if self.basis is None else targets._replace(t5=targets.t5.float() @ self.basis)

    def narrow(self, adapter: Adapter) -> Adapter:
        """``adapter`` itself, whose T5 outputs become their coordinates ``[B, T, R]``."""
        if self.basis is not None:
            self._change(adapter, self.basis.T, adapter.t5.mean @ self.basis)
        return adapter

    def widen(self, adapter: Adapter) -> Adapter:
        """The reverse of :meth:`narrow`: outputs are the points ``[B, T, C]`` of the span that have the coordinates."""
        if self.basis is not None:
            apart = adapter.t5.mean - self.mean @ self.basis
            self._change(adapter, self.basis, self.mean + apart @ self.basis.T)
        return adapter

    @torch.no_grad()
    def _change(self, adapter: Adapter, matrix: Tensor, mean: Tensor) -> None:
        """Multiply the weights and bias of the readout by ``matrix`` [new, old], in units of a new scale."""
        branch, unit = adapter.t5, math.sqrt(len(matrix) / matrix.shape[1])
        assert isinstance(branch, Branch | StatisticsBranch)
        readout = branch.mlp[-1] if isinstance(branch, Branch) else branch.output
        assert isinstance(readout, nn.Linear)
        readout.weight = nn.Parameter(unit * matrix @ readout.weight)
        readout.bias = nn.Parameter(unit * matrix @ readout.bias)
        if isinstance(branch, AttributesBranch):
            branch.attributes = nn.Parameter(unit * branch.attributes @ matrix.T)
        branch.mean, branch.scale = mean, branch.scale / unit
        readout.out_features = len(matrix)
