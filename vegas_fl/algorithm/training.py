"""Training an adapter on embeddings and text targets: what a node does with its own recordings.

Letters: N clips, S audio tokens of width D, K classes, P width of CLIP's pooled vector, T tokens of width
C of T5.
"""

import torch
from torch import Tensor

from vegas_fl.algorithm.adapter import Adapter, Conditioning, standardisation
from vegas_fl.config import AdapterConfig
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError


def train_adapter(
    adapter: Adapter,
    x: Tensor,
    labels: Tensor,
    targets: Conditioning,
    config: AdapterConfig,
    epochs: int,
    clip_targets: Conditioning | None = None,
) -> dict[str, float]:
    """Train ``adapter`` in place to output, for each clip, the text target of its class.

    Draws come from torch's global generator: call inside :func:`vegas_fl.core.seeds.reproducible`.

    Parameters
    ----------
    adapter : Adapter
        Starts from its current weights. It is left on the CPU if its device has no room for a single clip.
    x : Tensor [N, S, D]
        Audio embeddings of the clips. As all other tensors on any device, in any precision: moved batch by batch.
    labels : Tensor [N]
        The class of each clip: an index into the first dimension of ``targets``.
    targets : Conditioning
        Text targets of all classes of the federation, not only the node's own: clip [K, P], t5 [K, T, C].
    config : AdapterConfig
        AdamW's learning rate for each branch, weight decay, batch size.
    epochs : int
        Passes over the clips; 0 leaves the adapter unchanged.
    clip_targets : Conditioning, optional
        A target of its own for each clip, instead of that of its class: clip [N, P], t5 [N, T, C].

    Returns
    -------
    dict
        ``clip_loss`` and ``t5_loss`` (means over the last epoch; NaN without one), ``epochs`` and ``clips``.

    Raises :class:`VegasError` if ``x`` is empty, or labels do not match the clips or the targets.
    """
    _check_labels(labels, clips=len(x), classes=len(targets.clip))
    rows, wanted_of = (torch.arange(len(x)), clip_targets) if clip_targets else (labels, targets)

    def run(at_once: int) -> Tensor:
        device = adapter.device
        scales = Conditioning(*(standardisation(target)[1].to(device) for target in targets))
        rates = {adapter.clip: config.clip_learning_rate, adapter.t5: config.t5_learning_rate}
        groups = [{"params": branch.parameters(), "lr": rate} for branch, rate in rates.items()]
        optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        totals = torch.full((2,), torch.nan)
        adapter.train()
        for _ in range(epochs):
            totals = torch.zeros(2, device=device)
            for batch in torch.randperm(len(x)).split(config.batch_size):
                wanted = Conditioning(*(target[rows[batch]].to(device) for target in wanted_of))
                optimizer.zero_grad()
                totals += backward(adapter, x[batch].to(device, torch.float32), wanted, scales, at_once)
                optimizer.step()
        adapter.eval()
        return totals / len(x)

    clip_loss, t5_loss = devices.retrained(adapter, run, config.batch_size, "local training").tolist()
    return {"clip_loss": clip_loss, "t5_loss": t5_loss, "epochs": epochs, "clips": len(x)}


def backward(adapter: Adapter, x: Tensor, targets: Conditioning, scales: Conditioning, at_once: int) -> Tensor:
    """The gradients of the mean loss of a batch ``[B, S, D]``, of which ``at_once`` rows pass at a time: they add up.

    Returns
    -------
    Tensor [2]
        The loss of each branch, times B.
    """
    totals = torch.zeros(2, device=x.device)
    for part, *wanted in zip(*(value.split(at_once) for value in (x, *targets)), strict=True):
        losses = branch_losses(adapter(part), Conditioning(*wanted), scales)
        (len(part) / len(x) * (losses.clip + losses.t5)).backward()
        totals += len(part) * torch.stack(losses).detach()
    return totals


def branch_losses(outputs: Conditioning, targets: Conditioning, scales: Conditioning) -> Conditioning:
    """Mean squared error of each branch, in units of the targets' variance: the mean of all targets scores 1.

    Every node has the text targets of all classes, so the unit is the same on every node.

    Parameters
    ----------
    outputs, targets : Conditioning
        clip [B, P] and t5 [B, T, C].
    scales : Conditioning
        Of each branch, from :func:`~vegas_fl.algorithm.adapter.standardisation`.
    """
    pairs = zip(outputs, targets, scales, strict=True)
    return Conditioning(*(((output - target) / scale).square().mean() for output, target, scale in pairs))


@torch.no_grad()
def adapt(adapter: Adapter, x: Tensor, batch_size: int = 64) -> Conditioning:
    """Outputs of ``adapter`` for all of ``x`` [N, S, D], computed in batches on the adapter's device: clip [N, P] and
    t5 [N, T, C], where x is."""

    def run(batch: int, device: str) -> Conditioning:
        adapter.to(device)
        batches = (adapter(part.to(device, torch.float32)) for part in x.split(batch))
        outputs = [[branch.to(x.device) for branch in part] for part in batches]
        return Conditioning(*(torch.cat(parts) for parts in zip(*outputs, strict=True)))

    return devices.sparing(run, batch_size, str(adapter.device), "an adapter")


def _check_labels(labels: Tensor, clips: int, classes: int) -> None:
    """Raise a VegasError unless each of at least one clip has a label from 0 to ``classes`` - 1."""
    if clips == 0 or len(labels) != clips:
        raise VegasError(f"Expected at least one clip and a label for each; got {clips} clips, {len(labels)} labels")
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise VegasError(
            f"Expected labels from 0 to {classes - 1}, one for each text target; got {int(labels.min())} to "
            f"{int(labels.max())}"
        )
