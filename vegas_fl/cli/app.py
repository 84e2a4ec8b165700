"""The tools around a run: `vegas-fl COMMAND …`."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import typer

from vegas_fl.cli import usage

app = typer.Typer(
    name="vegas-fl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130
"""What click makes of a KeyboardInterrupt."""


@app.callback()
def tools() -> None:
    """Tools around a run. Without a command, `vegas-fl [KEY=VALUE …]` runs the configuration (vegas-fl --help)."""


def find(command: str, words: Sequence[str] = ()) -> click.Command:
    """A command, or the one of its own commands that ``words`` begin with."""
    importlib.import_module(f"vegas_fl.cli.{usage.COMMANDS[command][0]}")  # it adds its commands to the app
    tool = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    return tool.commands.get(next(iter(words), ""), tool) if isinstance(tool, click.Group) else tool


def takes_overrides(tool: click.Command) -> bool:
    """Whether it reads a configuration."""
    return any(parameter.name in ("overrides", "words") for parameter in tool.params)


def run(command: str, words: Sequence[str], folders: Sequence[str] = ()) -> None:
    """Run a tool, and exit if it failed; ``folders`` hold more experiments for those that take overrides.

    Raises
    ------
    VegasError
        The tool failed, or takes no overrides and got ``folders``.
    """
    tool = find(command, words)
    added: list[str] = []
    if folders:
        from vegas_fl.config.overrides import searchpath

        if not takes_overrides(tool):
            raise usage.UsageError(f"vegas-fl {command} reads no configuration; leave out --config-dir")
        added = searchpath([Path(folder) for folder in folders])
    try:
        code = app(args=[command, *words, *added], prog_name="vegas-fl", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        sys.exit(code)
