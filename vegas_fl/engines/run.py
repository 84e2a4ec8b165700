"""Run a configuration with its engine."""

from collections.abc import Callable

from vegas_fl.config import Config, FlowerConfig


def elsewhere(config: Config) -> bool:
    """Whether the nodes are other machines."""
    return isinstance(config.engine, FlowerConfig) and config.engine.connection is not None


def run(config: Config, node_bytes: Callable[[Config], float]) -> None:
    """Run ``config`` with the engine that it names; ``node_bytes`` estimates the GPU memory that a node takes.

    Raises
    ------
    VegasError
        The run stopped; the message has the reason.
    """
    if isinstance(config.engine, FlowerConfig):
        from vegas_fl.engines import flower

        flower.run(config, node_bytes)
    else:
        from vegas_fl.engines import inprocess

        inprocess.run(config)
