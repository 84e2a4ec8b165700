"""The command ``vegas-fl``: Hydra composes the configuration and an engine runs it, or one of the tools runs."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from vegas_fl import cli
from vegas_fl.cli.app import app
from vegas_fl.config import Config, ConfigError, lenient, sound, validate
from vegas_fl.core.errors import VegasError
from vegas_fl.engines.run import elsewhere, run

SWITCHES = {"--verbose": "hydra.verbose=true", "--overwrite": "images.overwrite=true"}
"""Switches of the command line that stand for an override."""


def main() -> None:
    """Entry point of the console script."""
    try:
        _dispatch()
    except KeyboardInterrupt:
        print("\nInterrupted. Files already written stay; run the same command to continue.", file=sys.stderr)
        sys.exit(130)


def _dispatch() -> None:
    if "--dry-run" in sys.argv[1:]:
        words = [SWITCHES.get(word, word) for word in sys.argv[1:] if word not in ("--dry-run", "--verbose")]
        run_tool(["plan", *words])
        return
    if is_command(sys.argv[1:]):
        run_tool(sys.argv[1:])
        return
    sys.argv[1:] = [lenient(SWITCHES.get(word, word)) for word in sys.argv[1:]]
    _main()


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
def _main(composed: DictConfig) -> None:
    job = HydraConfig.get()
    if job.mode is RunMode.MULTIRUN:
        # Each job is a run of its own, so that jobs do not write to the same folders.
        run_, series = composed.run, composed.series
        composed.run = f"{run_}-{job.job.num}"
        if "generators" in composed.stages:
            composed.series = f"{series}-{job.job.num}"
    try:
        config = checked(composed)
        _tell_adapter(config)
        run(config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except VegasError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def _tell_adapter(config: Config) -> None:
    """Log which adapter a run that trains nothing draws with, and the commands for the others."""
    if config.stages == ("images",):
        from vegas_fl.rendering.choice import choices

        for line in choices(config, sys.argv[1:]):
            logging.getLogger("vegas_fl.server").info("%s", line)


def is_command(arguments: list[str]) -> bool:
    """Whether a command line names a tool: its first word is neither a switch nor an override."""
    return bool(arguments) and arguments[0][:1].isalpha() and "=" not in arguments[0]


def run_tool(arguments: list[str]) -> None:
    """Run a tool; an error ends it with a sentence and exit code 1, a mistake in the configuration with 2."""
    for module in pkgutil.iter_modules(cli.__path__):  # each adds its command to the app
        importlib.import_module(f"{cli.__name__}.{module.name}")
    try:
        app(args=arguments, prog_name="vegas-fl")
    except VegasError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def checked(composed: DictConfig) -> Config:
    """The configuration, after every check that is possible before the run.

    Raises
    ------
    ConfigError
        Listing every mistake.
    """

    def check(config: Config) -> list[str]:
        from vegas_fl.runs import preflight

        return preflight.check(config, nodes_are_here=not elsewhere(config))

    return sound(lambda: validate(composed), check)
