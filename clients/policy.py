"""What a node's owner allows, enforced before any mode runs.

A SuperNode with folders of its own (:mod:`clients.roots`) refuses what its ``allow`` (:class:`vegas_fl.config.Allow`,
sent by ``node.yaml`` or as JSON in ``--node-config``) does not allow. In process and in a simulation all recordings are
the user's own, so nothing is refused and no figure is rounded.

A policy slows a curious server down; it gives no formal privacy. Synthetic recordings (``data=toy``) need no least
number of clips.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from clients.evaluate import CANDIDATE, MOST_ERROR
from clients.memory import gigabytes
from clients.node import Node
from vegas_fl.config import Allow, Config
from vegas_fl.config.whole import flat
from vegas_fl.core.errors import VegasError, explained, some
from vegas_fl.core.files import locked, read_text, write_atomically
from vegas_fl.federation.messages import (
    Branches,
    Describe,
    Evaluate,
    EvaluateGenerators,
    Evaluation,
    Generate,
    GeneratorQuality,
    Request,
    SumClips,
    SumKeys,
    Sums,
    TrainAdapter,
    TrainedAdapter,
    TrainedGenerators,
    TrainGenerators,
    Values,
)
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.tensorfiles import State

EVALUATED = (CANDIDATE, "generator.")
"""Beginnings of the names of what is evaluated."""
LEAST_NODES = 3
"""Of a secure sum: of two, each knows the other's part."""
KEPT = "policy.json"
"""In ``output-dir``: the first split and encoder, the requests of the day, and what was evaluated."""
MOST_FIGURE = 1e4
STAGES: Mapping[type[Request[Any]], tuple[str, ...]] = {
    TrainGenerators: ("generators",),
    TrainAdapter: ("adapters",),
    Evaluate: ("adapters",),
    EvaluateGenerators: ("generators", "adapters"),
    SumClips: ("adapters",),
    SumKeys: ("adapters",),
    Generate: ("images",),
}
"""The stages that a request may belong to."""


@dataclass(frozen=True)
class Policy:
    """The policy of one node with folders of its own, for one request."""

    node: Node
    asked: Request[Any]
    allow: Allow

    @classmethod
    def of(cls, node: Node, asked: Request[Any], settings: Mapping[str, Any]) -> Policy:
        """The policy in a ``--node-config``, or the default.

        Raises
        ------
        VegasError
            Its ``allow`` is not JSON of :class:`Allow`.
        """
        try:
            return cls(node, asked, Allow.model_validate_json(str(settings.get("allow", "{}"))))
        except ValidationError as error:
            raise VegasError(f"node {node.id}: allow in its --node-config is invalid: {explained(error)}") from error

    def check(self) -> None:
        """Raise :class:`VegasError` with a sentence for the first thing that the owner does not allow."""
        self._check_names()
        self._check_sizes()
        if self._reads_recordings and self.node.data.name != "toy":
            self._check_clips()
            self._keep()

    def _refuse(self, asked: str, allowed: Any, key: str) -> None:
        raise VegasError(
            f"node {self.node.id} refuses {asked}; its owner allows {allowed}: allow.{key} in its node.yaml changes it"
        )

    @property
    def _reads_recordings(self) -> bool:
        if isinstance(self.asked, Generate):
            return self.node.config.images.source == "recordings"
        if isinstance(self.asked, SumKeys):
            return False
        return not isinstance(self.asked, Describe) or self.node.config.needs_recordings

    def _stages(self) -> set[str]:
        """What the run says it does, and what this request is part of."""
        own = STAGES.get(type(self.asked), ())
        return {*self.node.config.stages, *(own if len(own) == 1 else ())}

    def _check_names(self) -> None:
        config, stages = self.node.config, self._stages()
        aggregation = "analytic" if isinstance(self.asked, SumClips | SumKeys) else config.aggregation.name
        for key, values in (
            ("classes", self.node.entry.selected_classes),
            ("stages", sorted(stages)),
            ("generators", [config.generator.name] if "generators" in stages else []),
            ("aggregations", [aggregation] if "adapters" in stages else []),
        ):
            allowed = getattr(self.allow, key)
            if allowed is not None and (odd := [value for value in values if value not in allowed]):
                self._refuse(f"{key} {some(odd)}", some(allowed) or "none", key)

    def _check_sizes(self) -> None:
        for name, value, key in _sizes(self.node.config, self.node.id, self.asked):
            if value > (most := getattr(self.allow, key)):
                self._refuse(f"{name}={value}", f"at most {most}", key)
        if isinstance(self.asked, SumClips) and len(self.asked.keys) < LEAST_NODES and not self.allow.own_sums:
            asked = f"a secure sum over {keys} nodes" if (keys := len(self.asked.keys)) else "sums that are not masked"
            self._refuse(asked, f"secure sums over at least {LEAST_NODES}", "own_sums")
        if (memory := gigabytes(self.node, self.asked)) > self.allow.memory:
            self._refuse(f"networks and tensors of {memory:.3g} GB", f"at most {self.allow.memory}", "memory")
        candidates = sum(name.startswith(CANDIDATE) for name in self.node.states)
        if candidates > self.allow.candidates:
            self._refuse(f"an evaluation of {candidates} adapters", f"{self.allow.candidates} a message", "candidates")

    def _check_clips(self) -> None:
        """Of a description, everything that the run it begins will do is checked, before anything is trained."""
        config, allow, clips = self.node.config, self.allow, self.node.clips
        stages = self._stages() if isinstance(self.asked, Describe) else set()
        split, mixture = config.evaluation.split, config.generator
        held, evaluates = getattr(clips, split, {}), split != "none"
        trains = isinstance(self.asked, TrainGenerators | TrainAdapter | EvaluateGenerators | SumClips)
        fits = isinstance(self.asked, TrainGenerators) or "generators" in stages
        components = getattr(mixture, "components", getattr(mixture, "prior_components", 1)) if fits else 1
        for label, own in clips.train.items():
            if (trains or stages & {"generators", "adapters"}) and len(own) < allow.clips_per_class:
                asked = f"training on {len(own)} clips of {label}"
                self._refuse(asked, f"no fewer than {allow.clips_per_class}", "clips_per_class")
            used = min(components, len(own))
            if used > 1 and len(own) < used * allow.clips_per_component:
                asked = f"a mixture of {used} components for {len(own)} clips of {label}"
                self._refuse(asked, f"no fewer than {allow.clips_per_component} a component", "clips_per_component")
        adapters = isinstance(self.asked, Evaluate) or (evaluates and "adapters" in stages)
        if adapters or isinstance(self.asked, EvaluateGenerators) or (stages and config.evaluates_generators):
            self._check_held(held, split, "" if adapters else " of generators")
        if isinstance(self.asked, Generate) or "images" in stages:
            self._check_judged()

    def _check_held(self, held: Mapping[str, Sequence[Any]], split: str, of: str) -> None:
        for label, own in held.items():
            if 0 < len(own) < (least := self.allow.clips_per_evaluation):
                asked = f"an evaluation{of} on {len(own)} clips of {label} (evaluation.split={split})"
                instead = "evaluation.generators=false" if of else "evaluation.split=none"
                self._refuse(asked, f"no fewer than {least} of a class, or {instead}", "clips_per_evaluation")

    def _check_judged(self) -> None:
        """Of pictures drawn from recordings, figures and features are figures and features of the recordings."""
        config, clips = self.node.config, self.node.clips
        if config.images.source != "recordings" or not config.renderer.judge:
            return
        if config.evaluation.reference and not self.allow.features_of_recordings:
            asked = "the judge's features of pictures drawn from recordings (evaluation.reference)"
            self._refuse(asked, "figures only", "features_of_recordings")
        held = {label: [*clips.val.get(label, []), *clips.test.get(label, [])] for label in clips.train}
        self._check_held(held, "val+test of images.source=recordings; renderer.judge=null", " by the judge")

    def _keep(self) -> None:
        """Pin the split and the encoder, and count the request and what it evaluates."""
        assert self.node.roots is not None and self.node.roots.output is not None
        path = self.node.roots.output / KEPT
        with locked(path):
            self._count(path)

    def _count(self, path: Path) -> None:
        now, today = _looks(self.node), datetime.date.today().isoformat()
        try:
            kept: dict[str, Any] = json.loads(read_text(path)) if path.exists() else {}
            pinned = dict(kept.get("pinned", now))
            counted = int(kept.get("requests", {}).get(today, 0)) + (not getattr(self.asked, "again", False))
            evaluated = sorted({*map(str, kept.get("evaluated", [])), *self._evaluated()})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise VegasError(f"{path} cannot be read; its owner may remove it") from error
        changed = [key for key in now if pinned.get(key) != now[key]]
        if changed and not self.allow.new_split:
            differences = some([f"{key}={_short(now[key])} (first {_short(pinned.get(key))})" for key in changed])
            self._refuse(
                f"a new look at the same clips, {differences}",
                f"only the first split and encoder, kept in output-dir/{KEPT} until it is removed",
                "new_split",
            )
        if counted > self.allow.requests_per_day:
            most = self.allow.requests_per_day
            self._refuse(f"request {counted} of this day that reads recordings", most, "requests_per_day")
        if len(evaluated) > self.allow.evaluated:
            asked = f"{len(evaluated)} different adapters and generators evaluated on the same clips"
            self._refuse(asked, f"{self.allow.evaluated} in all, counted in output-dir/{KEPT}", "evaluated")
        keeping = {"pinned": now, "requests": {today: counted}, "evaluated": evaluated}
        write_atomically(path, json.dumps(keeping, indent=1).encode())

    def _evaluated(self) -> set[str]:
        """Ids of what the request evaluates: asked for again, it tells nothing new."""
        asked, states = self.asked, self.node.states
        if not isinstance(asked, Evaluate | EvaluateGenerators):
            return set()
        by = tensorfiles.digest(states.get("targets", {}) | states.get("class means", {}))
        what = {name: tensorfiles.digest(state) for name, state in states.items() if name.startswith(EVALUATED)}
        if isinstance(asked, Evaluate) and asked.own:
            what["own"] = asked.own
        about = json.dumps([by, self.node.config.seed, self.node.config.evaluation.split])
        if isinstance(asked, EvaluateGenerators):  # each is compared with the clips of its class
            about += json.dumps(asked.generators)
            what = {name: name + id_ for name, id_ in what.items()}
        return {hashlib.sha256(f"{about}{id_}".encode()).hexdigest()[:16] for id_ in what.values()}

    def released(self, reply: Values, states: dict[str, State]) -> Values:
        """A reply as it may leave the node: figures rounded, and clipped to what they can honestly be. In ``states``,
        components of mixtures that stand for fewer clips than the owner allows are left out, since no setting says how
        many clips each will get."""
        match reply:
            case TrainedGenerators(metrics=metrics, samples=samples):
                for label, count in samples.items() if self.node.data.name != "toy" else ():
                    self._without_small(states[f"generator.{label}"], count)
                changes: dict[str, Any] = {"metrics": {label: _rounded(of) for label, of in metrics.items()}}
            case TrainedAdapter(metrics=metrics):
                changes = {"metrics": _rounded(metrics)}
            case GeneratorQuality(figures=figures):
                changes = {"figures": {label: _rounded(of) for label, of in figures.items()}}
            case Evaluation(figures=scores):
                changes = {"figures": {n: Branches(clip=_honest(s.clip), t5=_honest(s.t5)) for n, s in scores.items()}}
            case _:
                changes = {}
        return reply.model_copy(update=changes)

    def _without_small(self, state: State, clips: int) -> None:
        for prefix in ("", "prior."):
            weights = state.get(f"{prefix}weights")
            if weights is None or int((weights > 0).sum()) < 2:
                continue
            small = weights * clips < self.allow.clips_per_component - 0.5
            kept = torch.where(small, 0.0, weights)
            means = state[f"{prefix}means"].clone()
            means[small] = 0.0
            state |= {f"{prefix}weights": kept / kept.sum(), f"{prefix}means": means}
            if prefix == "" and "deviations" in state:
                state["deviations"] = state["deviations"].masked_fill(small[:, None, None], 1.0)


SIZES = {
    "epochs": ("generator.epochs", "adapter.local_epochs", "renderer.steps"),
    "steps": ("generator.max_steps",),
    "tokens": ("encoder.tokens", "renderer.max_sequence_length"),
    "width": (
        *(f"generator.{key}" for key in ("hidden", "clip_latent", "token_latent", "components", "prior_components")),
        *("adapter.width", "adapter.heads", "adapter.hidden", "renderer.batch_size"),
    ),
    "samples": ("adapter.replay_samples",),
    "side": ("renderer.height", "renderer.width"),
    "threads": ("threads", "renderer.threads"),
}
"""Key of ``allow`` → what it limits."""
NETWORKS = ("width", "tokens", "hidden", "heads", "latent", "components")
"""Ends of the keys, in the header of a network that the server sends, that are its sizes."""


def _sizes(config: Config, node: str, asked: Request[Any]) -> Iterator[tuple[str, float, str]]:
    """Each size of a request: its name, its value, and the key of ``allow`` that limits it."""
    values, data = dict(flat(config.model_dump(exclude={"nodes"}))), config.data_of(node)
    yield from ((name, values.get(name) or 0, limit) for limit, names in SIZES.items() for name in names)
    yield "generator.widths", max(values.get("generator.widths", (0,))), "width"
    yield "data.max_seconds", data.max_seconds, "seconds"
    yield "data.clips_per_class", data.clips_per_class, "samples"
    if isinstance(asked, Generate) or "images" in config.stages:
        yield f"nodes.{node}.samples_per_node", config.nodes[node].pictures, "pictures"
    for header in (getattr(asked, "adapter", {}), *getattr(asked, "generators", {}).values()):
        sizes = ((key, size) for key, size in flat(header) if key.endswith(NETWORKS) and isinstance(size, int | float))
        yield from ((f"a sent header's {key}", size, "width") for key, size in sizes)
    if spaces := getattr(asked, "spaces", None):
        for key, size in asdict(spaces.shape).items():
            yield f"spaces.{key}", size, "tokens" if key.endswith("tokens") else "width"


def _looks(node: Node) -> dict[str, Any]:
    """Everything that decides which of the node's clips are looked at together, and how."""
    data = node.data.model_dump(mode="json", exclude={"root", "clips_per_class"})
    shared = {node.id: node.entry} if node.data.partition == "none" else node.config.peers(node.id)
    classes = {peer: sorted(entry.selected_classes) for peer, entry in shared.items()}
    folds = {peer: entry.dataset.folds for peer, entry in shared.items() if entry.dataset}
    encoder = node.config.encoder.model_dump(mode="json", exclude={"batch_size"})
    return {
        **{f"data.{key}": value for key, value in data.items()},
        **{f"encoder.{key}": value for key, value in encoder.items()},
        "selected_classes": classes,
        **{f"folds of {peer}": own for peer, own in folds.items() if own != node.data.folds},
        "samples_per_node": node.entry.samples_per_node,
    }


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else f"{text[:60]}…"


def _clipped(value: float, low: float, high: float, digits: int) -> float:
    return round(min(max(value, low), high), digits) if value == value else value  # NaN is not equal to itself


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _clipped(value, -MOST_FIGURE, MOST_FIGURE, 3) if isinstance(value, float) else value
        for name, value in figures.items()
    }


def _honest(sums: Sums) -> Sums:
    """Sums over clips, rounded to a whole clip; sums over resamples, whose weights are fractions, to a tenth of one.
    Sums of margins add up rounded numbers already."""
    clips = sum(map(sum, sums.confusion))
    changes = {
        "cosine": _clipped(sums.cosine, -clips, clips, 0),
        "mse": _clipped(sums.mse, 0, MOST_ERROR * clips, 0),
        "margin": None if sums.margin is None else _clipped(sums.margin, -clips, clips, 0),
        "resampled": [round(value, 1) for value in sums.resampled],
        # A resample may weigh a little more than all clips.
        "resampled_margin": [_clipped(value, -2 * clips, 2 * clips, 1) for value in sums.resampled_margin],
    }
    return sums.model_copy(update=changes)
