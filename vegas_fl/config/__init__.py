"""The typed configuration: what ``conf/`` may say, checked once, immutable afterwards.

Keys are documented where they get their defaults, in ``conf/*.yaml``. Here are their types and bounds,
and :func:`compose`, which turns Hydra overrides into a :class:`Config` or lists every mistake at once.
"""

from vegas_fl.config.composing import compose, lenient, parse, restored, sound, validate
from vegas_fl.config.mistakes import ConfigError
from vegas_fl.config.sections import (
    CLASS_NAME,
    PARTS,
    AdapterConfig,
    ConditioningConfig,
    DataConfig,
    EncoderConfig,
    EvaluationConfig,
    FedAvgConfig,
    FederationConfig,
    FlowerConfig,
    GeneratorConfig,
    GMMConfig,
    ImagesConfig,
    InProcessConfig,
    KDConfig,
    MLPConfig,
    NodeConfig,
    RendererConfig,
    ReplayConfig,
    Source,
    StandaloneConfig,
    StudentConfig,
    VAEConfig,
)
from vegas_fl.config.whole import Config

__all__ = [
    "CLASS_NAME",
    "PARTS",
    "AdapterConfig",
    "ConditioningConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "EncoderConfig",
    "EvaluationConfig",
    "FedAvgConfig",
    "FederationConfig",
    "FlowerConfig",
    "GMMConfig",
    "GeneratorConfig",
    "ImagesConfig",
    "InProcessConfig",
    "KDConfig",
    "MLPConfig",
    "NodeConfig",
    "RendererConfig",
    "ReplayConfig",
    "Source",
    "StandaloneConfig",
    "StudentConfig",
    "VAEConfig",
    "compose",
    "lenient",
    "parse",
    "restored",
    "sound",
    "validate",
]
