"""Run a configuration with its engine."""

from vegas_fl.config import Config, FlowerConfig


def elsewhere(config: Config) -> bool:
    """Whether the nodes are other machines."""
    return isinstance(config.engine, FlowerConfig) and config.engine.connection is not None


def run(config: Config) -> None:
    """Run ``config`` with the engine that it names.

    Raises
    ------
    VegasError
        The run stopped; the message has the reason.
    """
    if isinstance(config.engine, FlowerConfig):
        from vegas_fl.engines import flower

        flower.run(config)
    else:
        from vegas_fl.engines import inprocess

        inprocess.run(config)
