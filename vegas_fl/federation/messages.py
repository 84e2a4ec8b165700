"""What server and nodes say to each other.

| request | asks a node to | reply | tensors |
|---|---|---|---|
| ``query.describe`` | say what it holds | :class:`Description` | |
| ``train.generator`` | train a generator per class | :class:`TrainedGenerators` | ``generator.<class>`` |
| ``train.adapter`` | train the adapter it is sent | :class:`TrainedAdapter` | ``adapter`` |
| ``query.sums`` | make a key for a secure sum | :class:`SumKey` | |
| ``train.sums`` | add up statistics of its clips | :class:`ClipCounts` | ``sums`` |
| ``evaluate.adapter`` | score ``candidate.<name>`` on its own unseen clips | :class:`Evaluation` | |
| ``evaluate.generator`` | compare ``generator.<class>`` with its own clips | :class:`GeneratorQuality` | |
| ``query.generate`` | render its pictures | :class:`Pictures` | ``pictures``: the judge's features |

Each request and each reply is a model below: the server builds requests and validates replies, a node does the
opposite. Every number, text, list and name has a bound, so that whatever a broken or hostile peer sends is either
within it or refused at the door. What a schema cannot know (which classes a node owns, how many clips it has) is in
:mod:`vegas_fl.federation.checks`. A reply ``{"problem": sentence}`` is a mistake that the node understood; one that it
did not is a Flower error. How models and tensors travel: :mod:`vegas_fl.federation.wire`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Generic, TypeVar

from flwr.app import RecordDict
from pydantic import BaseModel, ConfigDict, Field

from vegas_fl.config import Config
from vegas_fl.federation.fields import (
    Clips,
    Confusion,
    Count,
    Figures,
    Finite,
    Hash,
    Header,
    Label,
    Name,
    NodeId,
    Notes,
    Place,
    Resamples,
    Round,
    Seconds,
    Size,
    Training,
)
from vegas_fl.federation.wire import Packed
from vegas_fl.federation.wire import pack as pack
from vegas_fl.federation.wire import unpack as unpack
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.tensorfiles import State


def added(one: list[float], other: list[float]) -> list[float]:
    """The sum of two lists; empty if one is, because sums of some nodes only mean nothing."""
    return [a + b for a, b in zip(one, other, strict=True)] if len(one) == len(other) else []


DESCRIBE = "query.describe"
TRAIN_GENERATOR = "train.generator"
TRAIN_ADAPTER = "train.adapter"
SUM_KEYS = "query.sums"
SUM_CLIPS = "train.sums"
EVALUATE = "evaluate.adapter"
EVALUATE_GENERATOR = "evaluate.generator"
GENERATE = "query.generate"


class Model(BaseModel):
    """Exact keys and types; immutable; NaN survives the way through JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, ser_json_inf_nan="constants")


class Values(Model):
    """A node's reply: who answers, and how many seconds it worked for it."""

    node: NodeId | None = None
    worked: Seconds = 0.0


class AudioSpace(Model):
    """What a node's audio embeddings ``[tokens, width]`` are, and by which encoder."""

    tokens: Size
    width: Size
    fingerprint: Hash


Manifest = Annotated[dict[Label, Annotated[list[Hash], Field(max_length=10**6)]], Field(max_length=10_000)]


class Manifests(Model):
    """Ids of a node's clips by part and class."""

    train: Manifest = {}
    val: Manifest = {}
    test: Manifest = {}


class Description(Values):
    """What a node holds: clips of each part by class. A node that needs no recordings says only who it is."""

    node: NodeId
    notes: Annotated[dict[Label, Notes], Field(max_length=10_000)] = {}
    train: Clips = {}
    val: Clips = {}
    test: Clips = {}
    manifest: Manifests | None = None
    audio: AudioSpace | None = None


class TrainedGenerators(Values):
    """Clips that each class's generator was trained on, and figures of the trainings."""

    clips: Count
    samples: Clips
    metrics: Annotated[dict[Label, Training], Field(max_length=10_000)]


class TrainedAdapter(Values):
    """Clips by class that the adapter was trained on, and figures of the training."""

    clips: Count
    samples: Clips
    metrics: Training


class SumKey(Values):
    """A public key for one secure sum (:mod:`vegas_fl.federation.secure_sum`)."""

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{98}$")]


class ClipCounts(Values):
    """Clips by class that the sums are over."""

    clips: Count
    samples: Clips


class Sums(Model):
    """What one branch of an adapter scores: counts, and sums over clips (not means, so that they add up).

    ``resampled`` has the clips that are right, and ``resampled_margin`` the sums of margins, in each resample of a
    bootstrap (:func:`vegas_fl.algorithm.metrics.resamples`).
    """

    confusion: Confusion
    cosine: Finite
    mse: Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
    margin: Finite | None = None
    resampled: Resamples = []
    resampled_margin: Resamples = []

    def __add__(self, other: Sums) -> Sums:
        rows = zip(self.confusion, other.confusion, strict=True)
        known = self.margin is not None and other.margin is not None
        return Sums.model_construct(  # bounds are those of one node
            confusion=[[a + b for a, b in zip(*pair, strict=True)] for pair in rows],
            cosine=self.cosine + other.cosine,
            mse=self.mse + other.mse,
            margin=(self.margin or 0.0) + (other.margin or 0.0) if known else None,
            resampled=added(self.resampled, other.resampled),
            resampled_margin=added(self.resampled_margin, other.resampled_margin),
        )

    def times(self, weight: float, drawn: Sequence[float] | None = None) -> Sums:
        """All sums multiplied by ``weight``, and those in each resample also by how often the node is ``drawn``."""
        factors = itertools.repeat(weight) if drawn is None else [weight * times for times in drawn]
        return Sums.model_construct(
            confusion=[[weight * count for count in row] for row in self.confusion],
            cosine=weight * self.cosine,
            mse=weight * self.mse,
            margin=None if self.margin is None else weight * self.margin,
            resampled=[a * b for a, b in zip(factors, self.resampled, strict=False)],
            resampled_margin=[a * b for a, b in zip(factors, self.resampled_margin, strict=False)],
        )


class Branches(Model):
    """Both branches of an adapter."""

    clip: Sums
    t5: Sums

    def __add__(self, other: Branches) -> Branches:
        return Branches.model_construct(clip=self.clip + other.clip, t5=self.t5 + other.t5)

    def times(self, weight: float, drawn: Sequence[float] | None = None) -> Branches:
        """Both branches' sums, multiplied."""
        return Branches.model_construct(clip=self.clip.times(weight, drawn), t5=self.t5.times(weight, drawn))


class Right(Model):
    """Clips of each class that each branch of an adapter classifies correctly."""

    clip: Annotated[list[Count], Field(max_length=10_000)]
    t5: Annotated[list[Count], Field(max_length=10_000)]


class Evaluation(Values):
    """Adapter → its scores on the node's unseen clips, which are of so many ``recordings``.

    ``resampled`` are the clips in each resample. ``locals`` tells apart what is added up as "local": by the node that
    trained it. Nodes of earlier versions send neither. ``lacking``: the node has not kept its own adapter, and scored
    nothing.
    """

    clips: Count
    figures: Annotated[dict[Name, Branches], Field(max_length=16)]
    recordings: Count = 0
    resampled: Resamples = []
    locals: Annotated[dict[NodeId, Right], Field(max_length=10_000)] = {}
    lacking: bool = False


class GeneratorQuality(Values):
    """Class → figures of its generator, held-out clips compared with, and samples drawn."""

    clips: Count
    figures: Annotated[dict[Label, Figures], Field(max_length=10_000)]
    held_out: Clips
    samples: Clips


class Judged(Model):
    """What the judge takes pictures for, the sum of their CLIP scores, and of the cosines to so many ``frames``."""

    confusion: Confusion
    clip_score: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
    frames: Count = 0
    image_similarity: Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)] = 0.0


class Pictures(Values):
    """How far a node is with its pictures.

    Of ``pictures`` in all, ``rendered`` were drawn for this request, in ``seconds``, and ``missing`` are left.
    """

    pictures: Count
    rendered: Count
    missing: Count
    seconds: Seconds = 0.0
    folder: Place
    judged: Judged | None = None
    notes: Notes = []


R = TypeVar("R", bound=Values)


class Request(Model, Generic[R]):
    """What the server asks for; the run's configuration travels beside it, as ``config``."""

    kind: ClassVar[str]
    reply: ClassVar[type[Values]]

    def content(
        self, config: Config, states: Mapping[str, State] | None = None, packed: Packed | None = None
    ) -> RecordDict:
        """The content of a message that asks this, with tensors by name, or ``packed`` ones."""
        own = ", ".join(
            f"{json.dumps(key)}: {json.dumps(value)}" for key, value in self.model_dump(mode="json").items()
        )
        return pack(f'{{"config": {config.text}{own and ", "}{own}}}', states, packed=packed)


class Describe(Request[Description]):
    """What do you hold?"""

    kind = DESCRIBE
    reply = Description


class TrainGenerators(Request[TrainedGenerators]):
    """Train a generator per class; ``training`` is the same when an interrupted training is asked for again."""

    kind = TRAIN_GENERATOR
    reply = TrainedGenerators
    spaces: Spaces
    training: Hash


class TrainAdapter(Request[TrainedAdapter]):
    """Train ``adapter`` towards ``targets``; with the generators of other classes, if the node replays them."""

    kind = TRAIN_ADAPTER
    reply = TrainedAdapter
    spaces: Spaces
    round: Round
    generators: dict[Label, Header] = {}


class SumKeys(Request[SumKey]):
    """Make a key for the secure sum of this name."""

    kind = SUM_KEYS
    reply = SumKey
    sum: Hash


class SumClips(Request[ClipCounts]):
    """Send the sums of :mod:`vegas_fl.algorithm.analytic` over the training clips; with the ``keys`` of all nodes of
    the secure ``sum``, masked."""

    kind = SUM_CLIPS
    reply = ClipCounts
    spaces: Spaces
    sum: Hash = ""
    keys: Annotated[dict[NodeId, Hash], Field(max_length=10_000)] = {}


class Evaluate(Request[Evaluation]):
    """Score each ``candidate.<name>`` by ``targets``; and what the node sent last, whose hash is ``own``."""

    kind = EVALUATE
    reply = Evaluation
    spaces: Spaces
    own: Hash = ""


class EvaluateGenerators(Request[GeneratorQuality]):
    """Compare each ``generator.<class>`` with the node's clips; ``class means`` are mean embeddings ``[D]``."""

    kind = EVALUATE_GENERATOR
    reply = GeneratorQuality
    generators: dict[Label, Header]


class Generate(Request[Pictures]):
    """Render pictures with ``adapter`` from each ``generator.<class>``.

    Asked ``again``, a node continues with the tensors it has kept. ``adapter_sha256`` and ``files`` go into the
    pictures' metadata.
    """

    kind = GENERATE
    reply = Pictures
    subfolder: Annotated[str, Field(pattern=r"^(round_[0-9]{1,9})?$")]
    adapter: Header
    generators: dict[Label, Header] = {}
    adapter_sha256: dict[Name, Hash]
    files: dict[Name, dict[Label, Place]]
    again: bool = False
