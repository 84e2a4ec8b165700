"""The typed configuration: checked once, immutable afterwards.

Keys are documented next to their defaults, in ``conf/*.yaml``. This package has their types and bounds, and
:func:`compose`, which turns Hydra overrides into a :class:`Config` or lists every mistake at once.
"""

from vegas_fl.config.allow import Allow
from vegas_fl.config.composing import anchored, compose, parse, restored, sound, validate
from vegas_fl.config.mistakes import ConfigError
from vegas_fl.config.sections import (
    BRANCHES,
    PARTS,
    AdapterConfig,
    AnalyticConfig,
    ConditioningConfig,
    DataConfig,
    DatasetConfig,
    EncoderConfig,
    FedAvgConfig,
    FlowerConfig,
    GeneratorConfig,
    GMMConfig,
    KDConfig,
    MLPConfig,
    NodeConfig,
    RendererConfig,
    Source,
    StudentConfig,
    VAEConfig,
)
from vegas_fl.config.whole import Config
