"""Run a configuration with the engine it chooses."""

from __future__ import annotations

from vegas_fl.config import Config, FlowerConfig


def run(config: Config) -> None:
    """Run with the chosen engine."""
    if isinstance(config.engine, FlowerConfig):
        from vegas_fl.engines import flower

        flower.run(config)
    else:
        from vegas_fl.engines import inprocess

        inprocess.run(config)
