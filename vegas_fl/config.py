"""The typed configuration: what ``conf/`` may say, checked once, immutable afterwards.

Keys are documented where they get their defaults, in ``conf/*.yaml``. Here are their types and bounds,
and :func:`compose`, which turns Hydra overrides into a :class:`Config` or lists every mistake at once.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
import threading
import typing
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    create_model,
    model_serializer,
)
from pydantic_core import ErrorDetails

from vegas_fl.errors import VegasError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
CLASS_NAME = re.compile(r"\w[\w .,'-]*")
"""What a class may be called: its name is part of file names."""


class Section(BaseModel):
    """A group of keys: unknown keys are mistakes, values never change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(Section):
    name: Literal["toy", "esc50", "folder", "vegas", "vggsound"]
    root: str | None
    max_seconds: PositiveFloat
    clips_per_class: PositiveInt
    train_ratio: Fraction
    val_ratio: Fraction
    test_ratio: Fraction
    partition: Literal["even", "dirichlet", "pathological"]
    dirichlet_alpha: PositiveFloat
    classes_per_node: PositiveInt
    train_folds: tuple[int, ...] | None
    val_folds: tuple[int, ...] | None
    test_folds: tuple[int, ...] | None
    split_seed: int


class Changes(Section):
    """Some keys of another section; only those that were set are there when it is written down."""

    @model_serializer(mode="wrap")
    def _what_was_set(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if key in self.model_fields_set}


if TYPE_CHECKING:
    DatasetConfig = DataConfig
else:
    _kinds = typing.get_type_hints(DataConfig, include_extras=True)
    DatasetConfig = create_model(
        "DatasetConfig",
        __base__=Changes,
        __doc__="The keys of the data group that a node has otherwise than the others.",
        **{key: (_kinds[key], None) for key in DataConfig.model_fields},
    )


class EncoderConfig(Section):
    name: Literal["yamnet", "ast"]
    model: str
    revision: str | None
    tokens: PositiveInt
    batch_size: PositiveInt


class VAEConfig(Section):
    name: Literal["vae"]
    checkpoint_dir: str
    clip_latent: PositiveInt
    token_latent: PositiveInt
    hidden: PositiveInt
    epochs: PositiveInt
    max_steps: PositiveInt
    learning_rate: PositiveFloat
    batch_size: PositiveInt
    beta: NonNegativeFloat
    warmup: Fraction
    input_noise: NonNegativeFloat
    prior_components: PositiveInt
    prior_shrinkage: Fraction
    residual_noise: NonNegativeFloat


class GMMConfig(Section):
    name: Literal["gmm"]
    checkpoint_dir: str
    components: PositiveInt
    covariance: Literal["diag", "spherical"]


class MLPConfig(Section):
    """An imported generator; there is nothing to choose."""

    name: Literal["mlp"]
    checkpoint_dir: str
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=2)]
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "tanh"]


GeneratorConfig = Annotated[VAEConfig | GMMConfig | MLPConfig, Field(discriminator="name")]


class AdapterConfig(Section):
    checkpoint_dir: str
    local_checkpoint_dir: str | None
    width: PositiveInt
    heads: PositiveInt
    hidden: PositiveInt
    local_epochs: NonNegativeInt
    replay_samples: NonNegativeInt
    clip_learning_rate: PositiveFloat
    t5_learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    batch_size: PositiveInt


class StudentConfig(Section):
    """How the server trains an adapter on samples."""

    epochs: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    samples_per_class: PositiveInt
    batch_size: PositiveInt
    mixup: NonNegativeFloat
    warm_start: bool


class KDConfig(StudentConfig):
    name: Literal["kd"]
    teachers: Literal["owners", "median", "all"]


class ReplayConfig(StudentConfig):
    name: Literal["replay"]


class FedAvgConfig(Section):
    name: Literal["fedavg"]
    weighted: bool


class StandaloneConfig(Section):
    name: Literal["standalone"]


class RendererConfig(Section):
    model: str
    revision: str | None
    steps: PositiveInt
    guidance_scale: NonNegativeFloat
    height: PositiveInt
    width: PositiveInt
    max_sequence_length: PositiveInt
    batch_size: PositiveInt
    dtype: Literal["float32", "bfloat16", "float16"]
    memory: Literal["auto", "full", "model_offload", "group_offload", "sequential"]
    low_memory: bool
    quantization: Literal["none", "nf4", "int8", "fp8"]
    compile: bool
    threads: PositiveInt | None
    judge: str | None


class InProcessConfig(Section):
    name: Literal["inprocess"]


class FlowerConfig(Section):
    name: Literal["flower"]
    connection: str | None
    cpus_per_node: PositiveInt


class NodeConfig(Section):
    selected_classes: Annotated[tuple[str, ...], Field(min_length=1)]
    samples_per_node: PositiveInt
    dataset: DatasetConfig | None = None


Source = Literal["adapter", "text", "none"]


class ConditioningConfig(Section):
    clip: Source
    t5: Source


class ImagesConfig(Section):
    source: Literal["generator", "recordings"]
    output: Literal["pictures", "embeddings"]
    where: Literal["nodes", "server", "both"]
    server_samples: PositiveInt
    adapters: Literal["global", "local"]
    round: PositiveInt | None
    every: PositiveInt | None
    report_seconds: PositiveFloat
    overwrite: bool
    sheet_columns: NonNegativeInt
    judge_classes: tuple[str, ...]


class EvaluationConfig(Section):
    split: Literal["test", "val", "none"]
    compare: tuple[Literal["local", "fedavg"], ...]
    local_nodes: PositiveInt
    every: PositiveInt
    generators: bool
    reference: str | None


class FederationConfig(Section):
    min_nodes: PositiveInt | None
    wait: PositiveFloat
    timeout: PositiveFloat
    max_norm: PositiveFloat


class TransportConfig(Section):
    dtype: Literal["float16", "float32"]


class TrackingConfig(Section):
    wandb: str | None


class PathsConfig(Section):
    checkpoints: str
    runs: str
    cache: str


class Config(Section):
    run: Name
    series: Name
    seed: int
    stages: Annotated[tuple[Literal["generators", "adapters", "images"], ...], Field(min_length=1)]
    rounds: PositiveInt
    threads: PositiveInt
    device: str
    nodes: Annotated[dict[str, NodeConfig], Field(min_length=1)]
    samples_per_node: PositiveInt
    targets: Literal["class", "caption", "attributes"]
    images_output_dir: str
    conditioning: ConditioningConfig
    images: ImagesConfig
    evaluation: EvaluationConfig
    federation: FederationConfig
    transport: TransportConfig
    tracking: TrackingConfig
    paths: PathsConfig
    data: DataConfig
    encoder: EncoderConfig
    generator: GeneratorConfig
    adapter: AdapterConfig
    aggregation: Annotated[KDConfig | ReplayConfig | FedAvgConfig | StandaloneConfig, Field(discriminator="name")]
    renderer: RendererConfig
    engine: Annotated[InProcessConfig | FlowerConfig, Field(discriminator="name")]

    @property
    def classes(self) -> tuple[str, ...]:
        """The federation's classes: those of all nodes, sorted. Position in it = class index everywhere."""
        return tuple(sorted({name for node in self.nodes.values() for name in node.selected_classes}))

    def data_of(self, node: str) -> DataConfig:
        """Where a node's recordings come from: ``data``, with what its ``dataset`` changes."""
        own = self.nodes[node].dataset
        return self.data.model_copy(update={key: getattr(own, key) for key in own.model_fields_set} if own else {})

    def peers(self, node: str) -> dict[str, NodeConfig]:
        """The nodes (this one among them) that read the same data set, and so share out the clips of a class."""
        return {other: entry for other, entry in self.nodes.items() if self._source(other) == self._source(node)}

    def with_root(self, node: str, root: str) -> Config:
        """This configuration as ``node`` sees it, whose data set lies in a folder of its own. Who shares it with
        whom stays as it is."""
        nodes = dict(self.nodes)
        for peer, entry in self.peers(node).items():
            changes = entry.dataset.model_dump() if entry.dataset else {}
            nodes[peer] = entry.model_copy(update={"dataset": DatasetConfig(**{**changes, "root": root})})
        return self.model_copy(update={"nodes": nodes})

    def _source(self, node: str) -> tuple[str, str | None]:
        data = self.data_of(node)
        return data.name, data.root

    @property
    def judge_classes(self) -> tuple[str, ...]:
        """The classes that pictures are judged among."""
        return tuple(sorted({*self.images.judge_classes, *self.classes}))

    @property
    def min_nodes(self) -> int:
        """Nodes whose valid replies a stage needs."""
        return self.federation.min_nodes or len(self.nodes)

    @property
    def needs_recordings(self) -> bool:
        """Whether any stage of the run reads recordings."""
        draws = "images" in self.stages and self.images.source == "recordings"
        return draws or "generators" in self.stages or "adapters" in self.stages

    @property
    def evaluates_generators(self) -> bool:
        """Whether nodes compare generators with recordings: those just trained, or those about to be sampled."""
        sampled = isinstance(self.aggregation, StudentConfig) or self.adapter.replay_samples
        used = "generators" in self.stages or ("adapters" in self.stages and bool(sampled))
        return used and self.evaluation.generators and self.evaluation.split != "none"


class ConfigError(VegasError):
    """The configuration cannot be run; ``mistakes`` has a sentence for each reason.

    ``config`` is what is left of it without unknown keys, if that is well-formed: other checks can go on.
    """

    def __init__(self, mistakes: Sequence[str], config: Config | None = None) -> None:
        self.mistakes, self.config = tuple(mistakes), config
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__(
            f"The configuration has {count}; nothing was started.\n" + "\n".join(f"- {m}" for m in self.mistakes)
        )


def lenient(override: str) -> str:
    """Let Hydra accept a value for any key (``a.b=1`` → ``++a.b=1``): whether the key exists is checked with
    everything else, so that all mistakes are told at once. Choices of a group, deletions and Hydra's own
    keys are left as they are."""
    key = override.partition("=")[0]
    if not override[:1].isalpha() or "=" not in override or key in GROUPS or key.startswith("hydra."):
        return override
    return f"++{override}" if "@" not in key and "/" not in key else override


GROUPS = ("data", "encoder", "generator", "adapter", "aggregation", "renderer", "engine", "experiment", "nodes", "step")
"""The folders of ``conf/``: ``data=esc50`` chooses a file."""

TAGS = ("vae", "gmm", "mlp", "kd", "replay", "fedavg", "standalone", "inprocess", "flower")
"""Names that choose between sections of different keys; pydantic puts them into the places of its errors."""

_compose_lock = threading.Lock()


def compose(overrides: Sequence[str] = ()) -> Config:
    """Compose ``conf/`` with Hydra overrides and validate the result.

    Raises
    ------
    ConfigError
        Listing every mistake.
    """
    with _compose_lock:
        GlobalHydra.instance().clear()
        try:
            with initialize_config_module("conf", version_base="1.3"):
                composed = hydra_compose("config", overrides=[lenient(o) for o in overrides])
        except HydraException as error:
            raise ConfigError([str(error)]) from error
    return validate(composed)


def restored(stored: dict[str, Any], overrides: Sequence[str]) -> Config:
    """A stored configuration, or part of one, with Hydra overrides over it and defaults for the rest.

    Parameters
    ----------
    stored : dict
        Resolved sections, as ``Config.model_dump(mode="json")`` gives them.
    overrides : sequence of str
        As on the command line; ``renderer=flux_schnell`` replaces the whole section.

    Raises
    ------
    ConfigError
        Listing every mistake.
    """
    fresh = compose(overrides).model_dump(mode="json")
    values = copy.deepcopy(fresh | stored)
    for override in overrides:
        *above, last = override.partition("=")[0].lstrip("+~").split(".")
        place, new = values, fresh
        for part in above:
            place, new = place[part], new[part]
        if last in new:
            place[last] = new[last]
    return parse(values)


def validate(composed: DictConfig) -> Config:
    """Turn a composed configuration into a :class:`Config`, or raise :class:`ConfigError` with every mistake."""
    try:
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([f"{error.full_key}: {str(error).splitlines()[0]}"]) from error
    settings = {str(key): value for key, value in values.items() if key != "hydra"}
    return parse(_normalised(settings))


def parse(values: dict[str, Any]) -> Config:
    """Validate plain values (of YAML or JSON) as a :class:`Config`.

    Unknown keys are reported together with what the checks across sections find, because those can still
    run; values of a wrong type hide the latter.

    Raises
    ------
    ConfigError
        Listing every mistake.
    """
    mistakes: list[str] = []
    try:
        config = _read(values)
    except ValidationError as error:
        mistakes = [_sentence(e, values) for e in error.errors()]
        unknown = [e["loc"] for e in error.errors() if e["type"] == "extra_forbidden"]
        if len(unknown) < len(mistakes):
            raise ConfigError(mistakes) from error
        config = _read(_without(values, unknown))
    mistakes += _contradictions(config)
    if mistakes:
        raise ConfigError(mistakes, config)
    return config


def _read(values: dict[str, Any]) -> Config:
    """Strictly typed, by way of JSON, where a list is what a tuple is written as."""
    return Config.model_validate_json(json.dumps(values))


def _normalised(values: dict[str, Any]) -> dict[str, Any]:
    """Node ids as text (YAML reads an unquoted 0 as a number)."""
    if isinstance(values.get("nodes"), dict):
        values["nodes"] = {str(key): node for key, node in values["nodes"].items()}
    return values


def _contradictions(config: Config) -> list[str]:
    """What is wrong across keys that are each well-formed."""
    found = []
    wanted = [str(i) for i in range(len(config.nodes))]
    if sorted(config.nodes) != sorted(wanted):
        found.append(f"nodes: named {', '.join(config.nodes)}; {len(wanted)} nodes are named {', '.join(wanted)}")
    for node, entry in config.nodes.items():
        names = entry.selected_classes
        if len(set(names)) < len(names):
            found.append(f"nodes.{node}.selected_classes: {list(names)} names a class twice; name each once")
        for name in names:
            if not CLASS_NAME.fullmatch(name):
                found.append(
                    f"nodes.{node}.selected_classes: {name!r} cannot be part of a file name; "
                    "use letters, digits, blanks, '.', ',', '_', '-'"
                )
    found += _different_splits(config)
    order = [s for s in ("generators", "adapters", "images") if s in config.stages]
    if list(config.stages) != order:
        found.append(f"stages: {list(config.stages)} is not in the order of the work; use {order}")
    if config.min_nodes > len(config.nodes):
        found.append(f"federation.min_nodes: {config.min_nodes} of {len(config.nodes)} nodes; use at most that many")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        found.append(f"device: {config.device!r} is not one of auto, cpu, cuda, cuda:N, mps")
    if config.adapter.local_checkpoint_dir == config.adapter.checkpoint_dir:
        found.append(
            "adapter.local_checkpoint_dir is adapter.checkpoint_dir, where this run's adapters go; "
            "give the run another name"
        )
    if config.evaluation.reference and not config.renderer.judge:
        found.append("evaluation.reference is compared by renderer.judge, which is null; set a judge, or no reference")
    found += _rendering(config)
    if config.aggregation.name == "standalone" and "images" in config.stages and config.images.adapters == "global":
        found.append(
            "aggregation=standalone makes no global adapter, but images.adapters=global draws with it; "
            "set images.adapters=local"
        )
    return found


def _different_splits(config: Config) -> Iterator[str]:
    """Nodes that share a class of one data set, but would not agree on who owns which clip."""
    for node, entry in config.nodes.items():
        ours = config.data_of(node).model_dump(exclude={"max_seconds"})
        for other, peer in config.peers(node).items():
            theirs = config.data_of(other).model_dump(exclude={"max_seconds"})
            shared = [name for name in entry.selected_classes if name in peer.selected_classes]
            differs = [key for key in ours if ours[key] != theirs[key]]
            if node < other and shared and differs:
                yield (
                    f"nodes {node} and {other} share the class {shared[0]} of one data set, but not its "
                    f"{', '.join(differs)}: clips of one could be the other's; give both the same in nodes.N.dataset"
                )


def _rendering(config: Config) -> list[str]:
    """What is wrong with how pictures are to be drawn."""
    found = []
    renderer, images = config.renderer, config.images
    for side in ("height", "width"):
        if (pixels := getattr(renderer, side)) % 16:
            found.append(f"renderer.{side}: FLUX draws multiples of 16 pixels; use {max(16, round(pixels / 16) * 16)}")
    if renderer.quantization != "none" and renderer.memory == "sequential":
        found.append(
            f"renderer.memory=sequential moves weights one by one, which renderer.quantization={renderer.quantization} "
            "does not survive; use memory=group_offload, or quantization=none"
        )
    if images.where != "nodes":
        if images.adapters == "local":
            found.append(
                f"images.where={images.where}: the server has no adapter of its own; set images.adapters=global"
            )
        if images.source == "recordings":
            found.append(f"images.where={images.where}: the server has no recordings; set images.source=generator")
        if images.server_samples < len(config.classes):
            found.append(
                f"images.server_samples={images.server_samples} is less than the {len(config.classes)} classes; "
                "the server paints each at least once"
            )
    if images.every and images.round:
        found.append("images.every draws many rounds, images.round draws one; set one of them to null")
    return found


def _sentence(error: ErrorDetails, values: dict[str, Any]) -> str:
    """One pydantic error as: key, what was seen, what is needed."""
    loc = [str(part) for part in error["loc"] if part not in TAGS]
    key = ".".join(loc)
    if error["type"] == "extra_forbidden":
        known = _known_keys(loc[:-1])
        close = difflib.get_close_matches(loc[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"there is: {', '.join(known)}"
        return f"{key}: there is no such key; {hint}"
    if error["type"] == "missing" or error.get("input") == "???":
        return f"{key}: required, but not set; add {key}=…"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}; got {error['input']!r}"


def _known_keys(loc: Sequence[str]) -> list[str]:
    """The keys that exist at a place of the configuration."""
    model: Any = Config
    parts = iter(loc)
    for part in parts:
        annotation = model.model_fields[part].annotation
        if part == "nodes":
            next(parts)  # the node's number
            model = NodeConfig
        elif part == "dataset":
            model = DataConfig
        elif typing.get_origin(annotation) is not None:
            return sorted({key for option in typing.get_args(annotation) for key in option.model_fields})
        else:
            model = annotation
    return list(model.model_fields)


def _without(values: dict[str, Any], locations: Sequence[tuple[int | str, ...]]) -> dict[str, Any]:
    """A copy of ``values`` with the entries at ``locations`` left out."""
    values = copy.deepcopy(values)
    for loc in locations:
        place: Any = values
        for part in loc[:-1]:
            # A discriminated union puts its tag into the location; it is no key.
            place = place.get(part, place)
        place.pop(loc[-1], None)
    return values
