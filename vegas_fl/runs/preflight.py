"""Checks before a run starts: all problems that can be found without training, at once.

What needs PyTorch is imported where it is used, so that recordings are checked without it.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vegas_fl.config import Config, DataConfig, StudentConfig
from vegas_fl.core import pack
from vegas_fl.core.devices import resolve_device
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import nearest_existing
from vegas_fl.data import checks
from vegas_fl.data.classes import prompt
from vegas_fl.data.datasets import missing_folder, open_dataset
from vegas_fl.storage.names import adapter_rounds, find_adapters, find_generators


def check(config: Config, nodes_are_here: bool, may_lack: bool = False) -> list[str]:
    """Problems that would stop the run, as sentences. Loads no network, writes nothing.

    Parameters
    ----------
    config : Config
    nodes_are_here : bool
        Whether the nodes' recordings and folders are on this machine; otherwise each node checks its own.
    may_lack : bool
        Ignore missing files that can still be provided (:func:`lacking`): a plan needs no data.
    """
    mistakes: list[str] = []
    if nodes_are_here and config.needs_recordings:
        from vegas_fl.audio import encoders

        mistakes += check_recordings(config, may_lack)
        mistakes += _problem(encoders.fingerprint, config.encoder)
    if not may_lack:
        mistakes += _generators(config)
        mistakes += _adapters(config)
    mistakes += _renderer(config, nodes_are_here)
    if config.tracking.wandb and importlib.util.find_spec("wandb") is None:
        mistakes.append(
            f"tracking.wandb={config.tracking.wandb}: Weights & Biases is not installed; run pip install wandb, or "
            "set tracking.wandb=null"
        )
    if "images" in config.stages and (reference := config.evaluation.reference):
        from vegas_fl.rendering import judge

        mistakes += _problem(judge.reference_pictures, Path(reference).expanduser(), config.classes)
    folders = {"paths.runs": config.paths.runs}
    if "generators" in config.stages:
        folders["generator.checkpoint_dir"] = config.generator.checkpoint_dir
    if "adapters" in config.stages:
        folders["adapter.checkpoint_dir"] = config.adapter.checkpoint_dir
    if nodes_are_here and "images" in config.stages:
        folders["images_output_dir"] = config.images_output_dir
    for key, folder in folders.items():
        mistakes += _unwritable(key, Path(folder))
    return mistakes


def warnings(config: Config) -> list[str]:
    """What will not stop the run, but makes its pictures mislead, as sentences."""
    from vegas_fl.rendering import flux

    known = pack.trained_classes(Path(flux.location(config.renderer)))
    prompts = {prompt(label) for label in known}
    unknown = [label for label in config.classes if prompt(label) not in prompts]
    if not (known and unknown):
        return []
    return [
        f"renderer.model={config.renderer.model} was trained for {len(known)} classes only: {', '.join(known)}. "
        f"For {', '.join(unknown)} its pictures show one of these instead, and the judge's verdict on them says "
        "nothing; choose classes among them, or a renderer for any class (renderer=flux_schnell adapter=attention, on "
        "a GPU)"
    ]


def lacking(config: Config, nodes_are_here: bool) -> list[str]:
    """Missing folders of data sets and missing checkpoints that the run needs, as sentences."""
    folders: list[str] = []
    if nodes_are_here and config.needs_recordings:
        folders = [absent for keys, data, _ in _data_sets(config) if (absent := missing_folder(data, keys))]
    return list(dict.fromkeys([*folders, *_generators(config), *_adapters(config)]))


def check_recordings(config: Config, may_lack: bool = False) -> list[str]:
    """Mistakes of the data sets; with ``may_lack``, only of the settings where a data set's folder is missing."""
    found: list[str] = []
    for keys, data, nodes in _data_sets(config):
        if may_lack and missing_folder(data):
            found += checks.settings_mistakes(data, keys)
        else:
            found += checks.check(data, config.peers(nodes[0]), nodes, keys)
    if not found and config.targets == "caption":
        found += _captions(config)
    return list(dict.fromkeys(found))


def _captions(config: Config) -> Iterator[str]:
    """Nodes whose clips have no captions."""
    for node, entry in config.nodes.items():
        data = config.data_of(node)
        if missing_folder(data):
            continue
        dataset = open_dataset(data)
        if not any(clip.caption for label in entry.selected_classes for clip in dataset.clips(label)):
            yield (
                f"targets=caption, but no clip of node {node} has a caption (data={data.name}); add captions.json to "
                "the classes' folders of VEGAS, or use targets=attributes"
            )


def _data_sets(config: Config) -> Iterator[tuple[str, DataConfig, list[str]]]:
    """For each data set: where its keys stand in the configuration, its settings, and the nodes that use these."""
    groups: dict[DataConfig, list[str]] = {}
    for node in config.nodes:
        groups.setdefault(config.data_of(node), []).append(node)
    for data, nodes in groups.items():
        yield "data" if data == config.data else f"nodes.{nodes[0]}.dataset", data, nodes


def _generators(config: Config) -> Iterator[str]:
    """Missing generators that the run loads instead of training them."""
    sampled = isinstance(config.aggregation, StudentConfig) or config.adapter.replay_samples
    draws = "images" in config.stages and config.images.source == "generator"
    if "generators" in config.stages or not (draws or ("adapters" in config.stages and sampled)):
        return
    folder = Path(config.generator.checkpoint_dir)
    found = find_generators(folder)
    if not found:
        yield (
            f"Checkpoint not found: no generator in {folder}; train generators first (stages=[generators]), "
            "or set generator.checkpoint_dir"
        )
        return
    for node, entry in config.nodes.items():
        for label in entry.selected_classes:
            if label not in found:
                close = difflib.get_close_matches(label, found, n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                yield (
                    f"Generator for class '{label}' not found{hint}: {folder} has generators for {', '.join(found)}; "
                    f"train it with stages=[generators], or change nodes.{node}.selected_classes"
                )


def _adapters(config: Config) -> Iterator[str]:
    """Missing adapters that the run loads instead of training them."""
    if "images" in config.stages and "adapters" not in config.stages:
        yield from dict.fromkeys(p for node in config.nodes for p in _problem(adapter_rounds, config, node))
    if "adapters" in config.stages and config.adapter.local_checkpoint_dir:
        folder = Path(config.adapter.local_checkpoint_dir)
        for node in config.nodes:
            if not find_adapters(folder, node):
                yield (
                    f"Checkpoint not found: no adapter of node {node} in {folder}; train adapters first, or set "
                    "adapter.local_checkpoint_dir"
                )


def _renderer(config: Config, nodes_are_here: bool) -> Iterator[str]:
    """Why the renderer cannot be loaded; it is not needed to write embeddings."""
    from vegas_fl.rendering import flux, memory

    if problems := _problem(flux.location, config.renderer):
        yield from problems
        return
    if not ("images" in config.stages and config.images.output == "pictures"):
        return
    if nodes_are_here or config.images.where != "nodes":
        yield from filter(None, [flux.incomplete(config.renderer), memory.quantization_problem(config.renderer)])
        if problems := _problem(resolve_device, config.device):
            yield from problems
        elif config.renderer.quantization == "none":  # with one, the check of the configuration says so
            yield from filter(None, [memory.mode_problem(config.renderer, resolve_device(config.device))])


def _problem(check: Callable[..., object], *values: object) -> list[str]:
    """The :class:`VegasError` that ``check(*values)`` raises, as a list of sentences."""
    try:
        check(*values)
    except VegasError as error:
        return [str(error)]
    return []


def _unwritable(key: str, folder: Path) -> Iterator[str]:
    """Why ``folder`` cannot be created or written to."""
    place = nearest_existing(folder)
    if not place.is_dir():
        yield f"{key}={folder} cannot be created: {place} is not a folder; choose another"
    elif not os.access(place, os.W_OK | os.X_OK):
        yield f"{key}={folder} is not writable: no permission in {place}; choose another"
