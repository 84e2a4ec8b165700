"""What a node's owner allows: the section ``allow`` of ``node.yaml``, enforced by ``clients/policy.py``."""

from typing import Annotated, Literal

from pydantic import Field

from vegas_fl.config.sections import ClassName, Section

Least = Annotated[int, Field(ge=1, le=10**6)]
Most = Annotated[int, Field(ge=1, le=10**6)]
Aggregation = Literal["kd", "replay", "fedavg", "standalone", "analytic"]


class Allow(Section):
    """Defaults: least clips that hide a single one a little, and upper limits that no run in ``conf/`` meets. A list
    that is not set (None) allows everything.

    Attributes
    ----------
    classes, stages, generators, aggregations : tuple or None
        Names a run may use. ``analytic`` has to be allowed explicitly, because its sums span the clips.
    clips_per_class, clips_per_component : int
        Least training clips of a class, and of each component of a generator's mixture.
    clips_per_evaluation : int
        Least held-out clips of each class in an evaluation, and least pictures of recordings that are judged.
    features_of_recordings : bool
        Whether the judge's features of pictures drawn from recordings may leave.
    own_sums : bool
        Whether the server may see the sums of ``analytic`` of this node, or of fewer than three nodes.
    new_split : bool
        Whether a run may split the clips, or encode them, differently from the first one.
    epochs, tokens, width, samples, pictures, side, threads : int
        Most epochs of a training (and steps of a picture), tokens and widths of a network, samples of a class (and toy
        clips), pictures of a run, pixels of a picture's side, and threads.
    steps : int
        Most optimisation steps of a generator's training.
    seconds : int
        Most seconds of a clip.
    memory : int
        Most GB that the tensors of a training step are estimated to take.
    candidates, evaluated, requests_per_day : int
        Most adapters in a message to evaluate; different adapters and generators ever evaluated on the node's clips;
        and requests that read recordings.
    """

    classes: Annotated[tuple[ClassName, ...] | None, Field(strict=False)] = None
    stages: Annotated[tuple[Literal["generators", "adapters", "images"], ...] | None, Field(strict=False)] = None
    generators: Annotated[tuple[Literal["vae", "gmm", "mlp"], ...] | None, Field(strict=False)] = None
    aggregations: Annotated[tuple[Aggregation, ...] | None, Field(strict=False)] = (
        "kd",
        "replay",
        "fedavg",
        "standalone",
    )
    clips_per_class: Least = 8
    clips_per_component: Least = 8
    clips_per_evaluation: Least = 10
    features_of_recordings: bool = False
    own_sums: bool = False
    new_split: bool = False
    epochs: Most = 2000
    steps: Most = 100_000
    tokens: Most = 2048
    width: Most = 8192
    samples: Most = 10_000
    pictures: Most = 10_000
    side: Most = 2048
    threads: Most = 64
    seconds: Most = 600
    memory: Most = 32
    candidates: Most = 64
    evaluated: Annotated[int, Field(ge=0, le=10**6)] = 200
    requests_per_day: Most = 1000
