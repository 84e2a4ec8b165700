"""The tools around a run: `vegas-fl COMMAND …`, one file per command. A command is a word without "="; an override of
the configuration always has one."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="vegas-fl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def tools() -> None:
    """Tools around a run. Without a command, `vegas-fl [KEY=VALUE …]` runs the configuration (vegas-fl --help)."""
