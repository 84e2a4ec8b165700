"""Training an adapter on embeddings and text targets: what a node does with its own recordings.

Letters: N clips, S audio tokens of width D, K classes, P width of CLIP's pooled vector, T tokens of width
C of T5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vegas_fl.algorithm.adapter import Adapter, Conditioning, standardisation
from vegas_fl.config import AdapterConfig
from vegas_fl.core.errors import VegasError


def branch_losses(outputs: Conditioning, targets: Conditioning, scales: Conditioning) -> Conditioning:
    """Mean squared error of each branch, in units of how far its targets lie apart (scales are deviations)."""
    pairs = zip(outputs, targets, scales, strict=True)
    return Conditioning(*(((output - target) / scale).square().mean() for output, target, scale in pairs))


def train_adapter(
    adapter: Adapter,
    x: Tensor,
    labels: Tensor,
    targets: Conditioning,
    config: AdapterConfig,
    epochs: int,
    clip_targets: Conditioning | None = None,
) -> dict[str, float]:
    """Train both branches of ``adapter`` in place; every clip is pulled to the target of its own class, or to its own.

    The branches share no weight, so each has its own AdamW and learning rate. The order of the clips
    comes from torch's global generator: call inside :func:`vegas_fl.core.seeds.reproducible`.

    Parameters
    ----------
    adapter : Adapter
        Starts from the weights it has.
    x : Tensor [N, S, D]
        Audio embeddings of the node's training clips.
    labels : Tensor [N]
        The class of each clip, an index into the targets' first dimension.
    targets : Conditioning
        Text targets of all classes of the federation: clip [K, P], t5 [K, T, C]. All, although a node
        owns few: the scale of the loss is their spread, the same on every node.
    config : AdapterConfig
        Learning rates, weight decay, batch size.
    epochs : int
        Passes over the clips; 0 leaves the adapter as it is.
    clip_targets : Conditioning, optional
        A target for each clip instead: clip [N, P], t5 [N, T, C].

    Returns
    -------
    dict
        ``clip_loss`` and ``t5_loss`` (mean over the last epoch's clips; without unit: 1 is what the mean
        of all targets scores; NaN if ``epochs`` is 0), ``epochs`` and ``clips``.

    Raises
    ------
    VegasError
        If there is no clip, or labels do not fit the clips or the targets.
    """
    if len(x) == 0 or len(labels) != len(x):
        raise VegasError(
            f"An adapter is trained on at least one labelled clip: got {len(x)} clips, {len(labels)} labels."
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < len(targets.clip):
        raise VegasError(
            f"Labels lie in {int(labels.min())}..{int(labels.max())}, but there are {len(targets.clip)} text targets."
        )
    scales = Conditioning(*(standardisation(target)[1] for target in targets))
    optimizers = [
        torch.optim.AdamW(branch.parameters(), lr=rate, weight_decay=config.weight_decay)
        for branch, rate in ((adapter.clip, config.clip_learning_rate), (adapter.t5, config.t5_learning_rate))
    ]
    totals = torch.full((2,), torch.nan)
    adapter.train()
    for _ in range(epochs):
        totals = torch.zeros(2)
        for batch in torch.randperm(len(x)).split(config.batch_size):
            rows = labels[batch] if clip_targets is None else batch
            wanted = Conditioning(*(target[rows] for target in (clip_targets or targets)))
            losses = branch_losses(adapter(x[batch]), wanted, scales)
            for optimizer in optimizers:
                optimizer.zero_grad()
            (losses.clip + losses.t5).backward()
            for optimizer in optimizers:
                optimizer.step()
            totals += len(batch) * torch.stack(losses).detach().cpu()
    adapter.eval()
    clip_loss, t5_loss = (totals / len(x)).tolist()
    return {"clip_loss": clip_loss, "t5_loss": t5_loss, "epochs": epochs, "clips": len(x)}


@torch.no_grad()
def adapt(adapter: Adapter, x: Tensor, batch_size: int = 64) -> Conditioning:
    """Outputs of ``adapter`` for all of ``x`` [N, S, D], computed in batches."""
    outputs = [adapter(batch) for batch in x.split(batch_size)]
    return Conditioning(*(torch.cat(parts) for parts in zip(*outputs, strict=True)))
