"""The tools beside a run: `vegas-fl COMMAND …`, one file a command. A command is a word without "="; an override of
the configuration always has one."""

from __future__ import annotations

import logging
import sys

import typer

from vegas_fl.errors import VegasError

app = typer.Typer(
    name="vegas-fl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def tools() -> None:
    """Tools beside a run. Without a command, `vegas-fl [KEY=VALUE …]` runs the configuration (vegas-fl --help)."""


def is_command(arguments: list[str]) -> bool:
    """Whether a command line asks for a tool: its first word is neither a switch nor an override."""
    return bool(arguments) and arguments[0][:1].isalpha() and "=" not in arguments[0]


def show_log() -> None:
    """Let a tool's messages and warnings be read."""
    logger = logging.getLogger("vegas_fl")
    if not logging.getLogger().handlers and not logger.handlers:
        logger.addHandler(logging.StreamHandler(sys.stderr))
        logger.setLevel(logging.INFO)


def main(arguments: list[str]) -> None:
    """Run a tool; a mistake ends it with a sentence and code 1, one of the configuration with 2."""
    from vegas_fl.commands import (  # noqa: F401
        bench,
        compare,
        data,
        deploy,
        gallery,
        import_checkpoint,
        import_config,
        paint,
        plan,
        render,
        report,
        verify,
    )

    try:
        app(args=arguments, prog_name="vegas-fl")
    except VegasError as error:
        from vegas_fl.config import ConfigError

        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
