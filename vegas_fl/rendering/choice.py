"""The adapters that a run without training could draw with instead of the chosen one, and the command for each."""

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError
from vegas_fl.storage.names import adapter_rounds, find_adapters, source_run
from vegas_fl.storage.provenance import in_words, made_by
from vegas_fl.storage.tensorfiles import load_header


def choices(config: Config, words: Sequence[str]) -> Iterator[str]:
    """Sentences: the adapter that a run will draw with, and the command that draws with each other one of its series.

    Parameters
    ----------
    config : Config
    words : sequence of str
        The overrides that the configuration was composed from.
    """
    if config.stages != ("images",):
        return
    local = config.images.adapters == "local"
    try:
        rounds = adapter_rounds(config, min(config.nodes, key=int))
        about = load_header(rounds[max(rounds)]["t5"])
    except VegasError:
        return  # the check of the checkpoints says it
    own = "each node's own adapter, such as " if local else ""
    yield f"pictures will be drawn with {own}{in_words(made_by(about))}"
    with contextlib.suppress(VegasError):  # of adapters that are not used
        for found, changes in _others(config, about.get("spaces")):
            keys = {"images_output_dir", *(change.partition("=")[0] for change in changes)}
            kept = [word for word in words if word.lstrip("+").partition("=")[0] not in keys]
            yield f"to draw with {found} instead: {shlex.join(['vegas-fl', *kept, *changes])}"


def _others(config: Config, spaces: object) -> Iterator[tuple[str, list[str]]]:
    """Other adapters of the series between the same spaces, in words, and the overrides that choose them."""
    folder, series = Path(config.adapter.checkpoint_dir), config.series
    if config.images.adapters == "local":
        if find_adapters(folder, run=source_run(config, folder)):
            yield "the global adapter", [f"run={config.run}-global", "images.adapters=global"]
    elif config.images.where == "nodes" and all(
        find_adapters(folder, node, source_run(config, folder)) for node in config.nodes
    ):
        yield "each node's own adapter", [f"run={config.run}-local", "images.adapters=local"]
    for place in sorted(folder.parent.glob(f"{series}*")):
        if place == folder or not (place.name == series or place.name.startswith(f"{series}-")):
            continue
        with contextlib.suppress(VegasError):
            if rounds := find_adapters(place):
                header = load_header(rounds[max(rounds)]["t5"])
                if header.get("spaces") == spaces:
                    changes = [f"run={place.name}-generate", f"adapter.checkpoint_dir={place}"]
                    if config.images.adapters == "local":
                        changes.append("images.adapters=global")
                    yield in_words(made_by(header)), changes
