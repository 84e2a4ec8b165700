"""The sections of a configuration: types and bounds of their keys, which ``conf/`` documents."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from vegas_fl.core.names import normal

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=+-]*$", max_length=150)]
"""Part of file names, which may have at most 255 characters."""
Fraction = Annotated[float, Field(ge=0, le=1)]
ClassName = Annotated[str, AfterValidator(normal)]
"""The name of a class, normalised to Unicode's composed form (NFC)."""

PARTS = ("train", "val", "test")
"""The parts of a split."""
BRANCHES = ("clip", "t5")
"""FLUX's two text inputs, and so the two branches of an adapter."""


class Section(BaseModel):
    """A group of keys. Unknown keys are errors; values cannot change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(Section):
    name: Literal["toy", "esc50", "folder", "vegas", "vggsound"]
    root: str | None
    max_seconds: PositiveFloat
    clips_per_class: PositiveInt
    train_ratio: Fraction
    val_ratio: Fraction
    test_ratio: Fraction
    partition: Literal["even", "dirichlet", "pathological", "none"]
    dirichlet_alpha: PositiveFloat
    classes_per_node: PositiveInt
    train_folds: tuple[int, ...] | None
    val_folds: tuple[int, ...] | None
    test_folds: tuple[int, ...] | None
    split_seed: int

    @property
    def folds(self) -> dict[str, tuple[int, ...]]:
        """The folds of each part."""
        return {part: getattr(self, f"{part}_folds") or () for part in PARTS}

    @property
    def by_folds(self) -> bool:
        """Whether clips are split by folds, not by ratios."""
        return bool(self.train_folds or self.test_folds)


class DatasetConfig(DataConfig):
    """The keys of ``data`` that a node sets for itself. All are optional; only those that were set are written, and
    only those may be read: see :meth:`over`."""

    def over(self, data: DataConfig) -> DataConfig:
        """``data`` with the keys that are set here."""
        return data.model_copy(update={key: getattr(self, key) for key in self.model_fields_set})

    @model_serializer(mode="wrap")
    def _set_keys(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if key in self.model_fields_set}


for _field in DatasetConfig.model_fields.values():
    _field.default = None
DatasetConfig.model_rebuild(force=True)


class EncoderConfig(Section):
    name: Literal["yamnet", "ast"]
    model: str
    revision: str | None
    tokens: PositiveInt
    batch_size: PositiveInt
    attributes: bool = False


class VAEConfig(Section):
    name: Literal["vae"]
    checkpoint_dir: str
    granularity: Literal["class", "group", "node", "all"] = "class"
    groups: dict[str, tuple[ClassName, ...]] = {}
    train_classes: tuple[ClassName, ...] | None = None
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
    prior_scale: PositiveFloat
    residual_noise: NonNegativeFloat


class GMMConfig(Section):
    name: Literal["gmm"]
    checkpoint_dir: str
    train_classes: tuple[ClassName, ...] | None = None
    components: PositiveInt
    covariance: Literal["diag", "spherical"]


class MLPConfig(Section):
    """An imported generator, which has no settings."""

    name: Literal["mlp"]
    checkpoint_dir: str
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=2)]
    activation: Literal["relu", "leaky_relu", "leaky_relu_0.2", "gelu", "silu", "tanh"]


GeneratorConfig = Annotated[VAEConfig | GMMConfig | MLPConfig, Field(discriminator="name")]


class AdapterConfig(Section):
    checkpoint_dir: str
    local_checkpoint_dir: str | None
    architecture: Literal["attention", "attributes", "statistics", "linear"] = "attention"
    token_width: PositiveInt = 256
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


class AnalyticConfig(Section):
    name: Literal["analytic"]
    ridge: PositiveFloat
    secure_sum: bool


class StandaloneConfig(Section):
    name: Literal["standalone"]


def _renamed_mode(value: Any) -> Any:
    """``model_offload``, as stored by runs before it was replaced."""
    return "vae_offload" if value == "model_offload" else value


class RendererConfig(Section):
    model: str
    revision: str | None
    steps: PositiveInt
    guidance_scale: NonNegativeFloat
    height: PositiveInt
    width: PositiveInt
    max_sequence_length: PositiveInt
    batch_size: PositiveInt | Literal["auto"]
    dtype: Literal["float32", "bfloat16", "float16"]
    memory: Annotated[
        Literal["auto", "full", "vae_offload", "group_offload", "sequential"], BeforeValidator(_renamed_mode)
    ]
    low_memory: bool
    quantization: Literal["none", "nf4", "int8", "fp8"]
    compile: bool
    threads: PositiveInt | None
    judge: str | None
    judge_revision: str | None


class InProcessConfig(Section):
    name: Literal["inprocess"]


class FlowerConfig(Section):
    name: Literal["flower"]
    connection: str | None
    cpus_per_node: PositiveInt
    gpus_per_node: Annotated[float, Field(ge=0)] | None = None


class OwnGenerator(Section):
    """The keys of ``generator`` that a node sets for itself; None: those of the run."""

    granularity: Literal["class", "group", "node"] | None = None
    groups: dict[str, tuple[ClassName, ...]] | None = None
    train_classes: tuple[ClassName, ...] | None = None


class NodeConfig(Section):
    selected_classes: Annotated[tuple[ClassName, ...], Field(min_length=1)]
    samples_per_node: PositiveInt
    dataset: DatasetConfig | None = None
    generator: OwnGenerator | None = None

    @property
    def training_clips(self) -> int:
        """The most clips it trains on, all classes together."""
        return self.samples_per_node

    @property
    def pictures(self) -> int:
        """The pictures it draws, all classes together."""
        return self.samples_per_node


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
    judge_classes: tuple[ClassName, ...]


class EvaluationConfig(Section):
    split: Literal["test", "val", "none"]
    compare: tuple[Literal["local", "fedavg"], ...]
    local_nodes: PositiveInt
    every: PositiveInt
    generators: bool
    reference: str | None
    inception: str | None


class FederationConfig(Section):
    min_nodes: PositiveInt | None
    wait: PositiveFloat
    timeout: PositiveFloat
    max_norm: PositiveFloat
    max_weight: Annotated[float, Field(ge=1)]


class TransportConfig(Section):
    dtype: Literal["float16", "float32"]


class TrackingConfig(Section):
    wandb: str | None


class PathsConfig(Section):
    checkpoints: str
    runs: str
    cache: str
