"""What a schema cannot say of a reply: whether it fits the run, the node, and what the node was asked.

Each check returns why a reply (already valid by :mod:`vegas_fl.federation.messages`) cannot be used, or None.
"""

import math
from collections.abc import Collection, Mapping

import torch

from vegas_fl.algorithm.fidelity import MEASURED
from vegas_fl.algorithm.metrics import RESAMPLES
from vegas_fl.config import PARTS, Config, NodeConfig
from vegas_fl.federation.messages import (
    ClipCounts,
    Confusion,
    Description,
    Evaluation,
    GeneratorQuality,
    Pictures,
    TrainedAdapter,
    TrainedGenerators,
)
from vegas_fl.storage.tensorfiles import State, norm

LONGEST = 2000
"""Characters of a reason that are kept: a node may send any number."""
ROUNDING = 1e-3
"""How far a sum of cosines may exceed the number of clips, relatively."""


def check_description(values: Description, config: Config) -> str | None:
    """A node is one of the configuration's and holds clips of its own classes only."""
    node = values.node
    if node not in config.nodes:
        return f"claims to be node {node!r}; the configuration has the nodes {', '.join(config.nodes)}"
    if not config.needs_recordings:
        return None
    for part in PARTS:
        if strange := sorted(set(getattr(values, part)) - set(config.nodes[node].selected_classes)):
            return f"node {node} claims {part} clips of {', '.join(strange)}, which it does not select"
    if values.audio is None or values.manifest is None:
        return f"node {node} does not describe its {'clips' if values.audio else 'audio embeddings'}"
    return None


def check_samples(
    values: TrainedAdapter | TrainedGenerators | ClipCounts, described: Description | None, entry: NodeConfig
) -> str | None:
    """The clips a node trained on, which weigh its reply, are of its own classes, and no more than it may use."""
    samples = values.samples
    if not samples:
        return "does not say what it trained on"
    if strange := sorted(set(samples) - set(entry.selected_classes)):
        return f"replied for classes it does not own: {', '.join(strange)}"
    held = described.train if described else {}
    for label, count in samples.items():
        most = min(held.get(label, entry.training_clips), entry.training_clips)
        if not 0 < count <= most:
            return f"claims {count} training clips of {label}, expected 1 to {most}"
    return None


def check_sums(sums: State, counts: list[int] | None, width: int, classes: int) -> str | None:
    """Sums over clips (:class:`~vegas_fl.algorithm.analytic.ClipSums`) that ``counts`` clips of each class can have,
    whose embeddings have the given width; of masked sums, without counts, only shapes can be checked."""
    size = 2 * width + 1
    shapes = {"gram": (size, size), "by_class": (size, classes)}
    if {name: tuple(tensor.shape) for name, tensor in sums.items()} != shapes:
        return f"sent unusable sums: expected the shapes {shapes}"
    if counts is None:
        masked = all(tensor.dtype == torch.int64 for tensor in sums.values())
        return None if masked else "sent unusable sums: expected masked ones, int64"
    clips = sum(counts)
    if any(tensor.dtype != torch.float64 or not tensor.isfinite().all() for tensor in sums.values()):
        return "sent unusable sums: expected finite numbers in float64"
    gram, by_class = sums["gram"], sums["by_class"]
    if by_class[-1].round().tolist() != counts or not torch.allclose(gram[-1], by_class.sum(1), atol=1e-6 * clips):
        return "sent unusable sums: they are not those of the clips it names"
    if not torch.allclose(gram, gram.T) or gram.trace() > 1.001 * clips * (width + 1) or gram.diagonal().min() < 0:
        return f"sent unusable sums: expected a Gram matrix of {clips} clips"
    return None


def check_norm(state: State, like: State, most: float) -> str | None:
    """The Euclidean norm of weights is at most ``most`` times that of ``like``, of the same shapes."""
    size, usual = norm(state), norm(like)
    if size > most * usual:
        return f"the norm of its weights is {size:.3g}, more than {most:g} times {usual:.3g} (federation.max_norm)"
    return None


def check_evaluation(
    values: Evaluation, candidates: Mapping[str, int], held: Mapping[int, int], trainers: Collection[str] = ()
) -> str | None:
    """The scores are of the candidates that were sent, on at most the clips that the node has.

    Parameters
    ----------
    values : Evaluation
    candidates : mapping
        Adapter → how many of this name were sent; their counts are added up.
    held : mapping
        Index of each class → clips the node has of it.
    trainers : collection
        Nodes whose own adapters were sent.
    """
    if (count := len(values.resampled)) or values.recordings:
        # A node whose resamples were larger than its clips would outweigh the others in the intervals.
        usual = count == RESAMPLES and abs(sum(values.resampled) / count - values.clips) < values.clips / 4
        if not usual or min(values.resampled) <= 0 or not 0 < values.recordings <= values.clips:
            return f"claims {values.recordings} recordings of {values.clips} clips, and {count} impossible resamples"
    if values.lacking:
        return "scored adapters that it says it lacks" if values.figures else None
    if values.locals and (set(values.locals) != set(trainers) or not {"own", "local"} & set(values.figures)):
        return f"scored the adapters of nodes {', '.join(values.locals)}, expected {', '.join(trainers) or 'none'}"
    for trainer, right in values.locals.items():
        for counts in (right.clip, right.t5):
            if len(counts) != len(held) or any(count > held[index] for index, count in enumerate(counts)):
                return f"says {counts[:20]} clips per class are right for the adapter of node {trainer}"
    for name, branches in values.figures.items():
        if name not in candidates:
            return f"scored adapter {name[:64]!r}, expected {', '.join(candidates)}"
        for branch in (branches.clip, branches.t5):
            counts = [sum(row) for row in branch.confusion]
            if not _square(branch.confusion, len(held)) or not any(counts):
                return f"returned an invalid confusion matrix for adapter {name}"
            if any(count > candidates[name] * held[index] for index, count in enumerate(counts)):
                return f"scored adapter {name} on {counts} clips per class, but holds {list(held.values())}"
            if sum(counts) > candidates[name] * values.clips:
                return f"scored adapter {name} on {sum(counts)} clips, but says it has {values.clips}"
            if abs(branch.cosine) > sum(counts) * (1 + ROUNDING):
                return f"returned invalid metrics for adapter {name}: cosine sum {branch.cosine:g}"
            if {len(branch.resampled), len(branch.resampled_margin)} != {len(values.resampled)}:
                return (
                    f"returned {len(branch.resampled)} resamples for adapter {name}, expected {len(values.resampled)}"
                )
            if not all(
                0 <= right <= clips * candidates[name] + 0.1
                for right, clips in zip(branch.resampled, values.resampled, strict=True)
            ):
                return f"returned impossible resamples for adapter {name}"
    return None


def check_quality(
    values: GeneratorQuality, described: Description | None, part: str, asked: Collection[str]
) -> str | None:
    """The figures are complete, and of the classes ``asked`` for; ``part`` is what generators are compared with."""
    names = {*MEASURED, *(f"{name}_ceiling" for name in MEASURED)}
    for label, figures in values.figures.items():
        if label not in asked:
            return f"returned metrics for the generator of {label}, which it was not asked for"
        if set(figures) != names:
            return f"returned invalid metrics for the generator of {label}"
        held = values.held_out.get(label, 0)
        most = getattr(described, part).get(label, math.inf) if described else math.inf
        if not 0 < held <= most or label not in values.samples:
            return f"claims {held} held-out clips of {label}, but holds {most}"
    return None


def check_pictures(
    values: Pictures, states: Mapping[str, State], most: int, classes: int, width: int | None
) -> str | None:
    """The counts add up, and what was judged are the pictures.

    Parameters
    ----------
    values : Pictures
    states : mapping
        ``pictures`` → ``features`` [N, F] of the pictures, if they are compared with real ones.
    most : int
        Pictures the node was asked for.
    classes : int
        K, among which pictures are judged.
    width : int or None
        F of the real pictures' features; None: nothing is compared.
    """
    counts = values.pictures, values.rendered, values.missing
    if not max(values.rendered, values.missing) <= values.pictures <= most:
        return f"returned impossible counts of pictures: {counts}, of at most {most}"
    if values.missing and not values.rendered:
        return f"rendered nothing, and {values.missing} pictures are missing"
    if (judged := values.judged) is None:
        return None
    total = sum(map(sum, judged.confusion))
    if not _square(judged.confusion, classes) or not 0 < total <= values.pictures:
        return "returned an invalid confusion matrix of its pictures"
    if judged.clip_score > 100 * total * (1 + ROUNDING):
        return f"returned an impossible CLIP score for {total} pictures: {judged.clip_score:g}"
    if judged.frames > total or abs(judged.image_similarity) > judged.frames * (1 + ROUNDING):
        return f"returned an impossible similarity to {judged.frames} frames: {judged.image_similarity:g}"
    if width is not None:
        features = states.get("pictures", {}).get("features", torch.empty(0))
        if features.ndim != 2 or features.shape[1] != width or not 0 < len(features) <= values.pictures:
            return f"returned picture features of shape {list(features.shape)}, expected [{values.pictures}, {width}]"
        if not bool(torch.isfinite(features).all()):
            return "returned picture features that are not finite"
    return None


def _square(rows: Confusion, classes: int) -> bool:
    return [len(row) for row in rows] == [classes] * classes
