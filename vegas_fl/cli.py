"""The command ``vegas-fl``: Hydra composes the configuration, an engine runs it; or a tool of vegas_fl.commands."""

from __future__ import annotations

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from vegas_fl import commands
from vegas_fl.config import Config, ConfigError, FlowerConfig, lenient, sound, validate
from vegas_fl.errors import VegasError

SWITCHES = {"--verbose": "hydra.verbose=true", "--overwrite": "images.overwrite=true"}
"""Words of the command line that stand for an override."""


def main() -> None:
    """Entry point of the console script."""
    try:
        _dispatch()
    except KeyboardInterrupt:
        print("\nInterrupted; what was written stays, and the same command does what is missing.", file=sys.stderr)
        sys.exit(130)


def _dispatch() -> None:
    if "--dry-run" in sys.argv[1:]:
        words = [SWITCHES.get(word, word) for word in sys.argv[1:] if word not in ("--dry-run", "--verbose")]
        commands.main(["plan", *words])
        return
    if commands.is_command(sys.argv[1:]):
        commands.main(sys.argv[1:])
        return
    sys.argv[1:] = [lenient(SWITCHES.get(word, word)) for word in sys.argv[1:]]
    _main()


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
def _main(composed: DictConfig) -> None:
    job = HydraConfig.get()
    if job.mode is RunMode.MULTIRUN:
        # Each job a run of its own, so that jobs do not write to the same folders.
        run_, series = composed.run, composed.series
        composed.run = f"{run_}-{job.job.num}"
        if "generators" in composed.stages:
            composed.series = f"{series}-{job.job.num}"
    try:
        run(checked(composed))
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except VegasError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def checked(composed: DictConfig) -> Config:
    """The configuration, after everything that can be checked before the run was; all mistakes come together.

    Raises
    ------
    ConfigError
        There is a mistake.
    """

    def check(config: Config) -> list[str]:
        from vegas_fl import preflight

        remote = isinstance(config.engine, FlowerConfig) and config.engine.connection is not None
        return preflight.check(config, nodes_are_here=not remote)

    return sound(lambda: validate(composed), check)


def run(config: Config) -> None:
    """Run with the chosen engine."""
    if isinstance(config.engine, FlowerConfig):
        from vegas_fl.engines import flower

        flower.run(config)
    else:
        from vegas_fl.engines import inprocess

        inprocess.run(config)


if __name__ == "__main__":
    main()
