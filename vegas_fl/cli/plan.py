"""`vegas-fl plan`, also `--dry-run`: the pictures that a run would draw, with time and disk space."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.config import ConfigError, compose, sound
from vegas_fl.core import logs
from vegas_fl.engines.run import elsewhere

if TYPE_CHECKING:
    from vegas_fl.rendering.plan import PlannedFolder


@app.command()
def plan(
    overrides: Annotated[list[str] | None, typer.Argument(help="KEY=VALUE … as for the run itself.")] = None,
    timing: Annotated[bool, typer.Option(help="Load FLUX and time one batch.")] = True,
) -> None:
    """Show what a run would do, and what it takes.

    Nothing is written. Pictures, missing data and checkpoints, time and disk space are listed; a run that cannot work,
    or that the disk has no room for, is refused.
    """
    from vegas_fl.core.devices import resolve_device
    from vegas_fl.rendering import plan as planning
    from vegas_fl.rendering.choice import choices
    from vegas_fl.runs import preflight

    logs.show(sys.stderr)
    config = sound(
        lambda: compose(overrides or []),
        lambda config: preflight.check(config, nodes_are_here=not elsewhere(config), may_lack=True),
    )
    print(f"run {config.run}: {', '.join(config.stages)}; {len(config.nodes)} nodes, {len(config.classes)} classes")
    for absent in preflight.lacking(config, nodes_are_here=not elsewhere(config)):
        print(f"still needed: {absent}")
    for warning in preflight.warnings(config):
        print(f"warning: {warning}")
    if "images" not in config.stages:
        print(f"stages={list(config.stages)}: this run draws no pictures")
        return
    for line in choices(config, overrides or []):
        print(line)
    if config.images.source == "recordings":
        print("images.source=recordings: at most this many, limited by the node's validation and test clips")
    planned = list(planning.planned_folders(config))
    for row in planned:
        shares = ", ".join(f"{count} of {label}" for label, count in row.classes.items())
        name = row.node if row.node == "server" else f"node {row.node}"
        print(f"{name}: {row.pictures} pictures ({shares}) in {row.folder}, {row.there} already there")
    missing = sum(row.missing for row in planned)
    print(f"to be drawn: {missing}")
    if config.images.output == "embeddings":
        _disk(planned, missing, planning.embedding_bytes(config.renderer))
        return
    if not (timing and missing):
        return
    device = resolve_device(config.device)
    timed = planning.timing(config.renderer, device)
    whole = timed.load + sum(timed.seconds(row.missing) for row in planned)
    print(
        f"renderer {config.renderer.model} on {device}, memory {timed.mode}: loaded in {timed.load:.1f} s, "
        f"a batch of {timed.size} takes {timed.batch:.2f} s ({timed.size / timed.batch:.3g} pictures a second)"
    )
    here = " if every node were this machine" if elsewhere(config) else ""
    print(f"estimated time: {duration(whole)}{here}")
    _disk(planned, missing, timed.bytes_each)


def _disk(planned: "list[PlannedFolder]", missing: int, bytes_each: float) -> None:
    """Print the disk space that is needed; :class:`ConfigError` if there is not enough of it."""
    from vegas_fl.rendering.render import shortage

    print(f"disk: about {missing * bytes_each / 1e6:.1f} MB ({bytes_each / 1e3:.0f} kB a picture)")
    if short := shortage((row.folder, row.missing * bytes_each) for row in planned):
        raise ConfigError(short)


def duration(seconds: float) -> str:
    """Seconds as text, in a unit that suits their size."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
