"""Checks before a run starts: all problems that can be found without training, at once."""

import contextlib
import difflib
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vegas_fl.audio import encoders
from vegas_fl.config import Config, StudentConfig
from vegas_fl.core import devices, pack
from vegas_fl.core.devices import resolve_device
from vegas_fl.core.errors import VegasError, some
from vegas_fl.core.files import nearest_existing
from vegas_fl.data.checks import check_recordings, data_sets
from vegas_fl.data.classes import prompt
from vegas_fl.data.datasets import missing_folder
from vegas_fl.rendering import flux, inception, judge, memory, runfile
from vegas_fl.rendering.folder import REMEDY
from vegas_fl.rendering.jobs import SERVER
from vegas_fl.rendering.plan import planned_folders
from vegas_fl.runs.progress import differences, trained_by
from vegas_fl.storage import names
from vegas_fl.storage.tensorfiles import load_header


def check(config: Config, nodes_are_here: bool, may_lack: bool = False) -> list[str]:
    """Problems that would stop the run, as sentences. Loads no network, writes nothing.

    Unless ``nodes_are_here``, each node checks its own recordings and folders. What ``may_lack`` are files that can
    still be provided (:func:`lacking`): a plan needs no data.
    """
    mistakes: list[str] = []
    if nodes_are_here and config.needs_recordings:
        mistakes += check_recordings(config, may_lack)
        mistakes += _problem(encoders.fingerprint, config.encoder)
    if not may_lack:
        mistakes += _generators(config)
        mistakes += _adapters(config)
    if "adapters" in config.stages:
        mistakes += _overwritten(config)
    mistakes += (renderer := list(_renderer(config, nodes_are_here)))
    if "images" in config.stages and not renderer:
        mistakes += refused_folders(config, None if nodes_are_here else SERVER)
    if config.tracking.wandb and importlib.util.find_spec("wandb") is None:
        mistakes.append(
            f"tracking.wandb={config.tracking.wandb}: Weights & Biases is not installed; run pip install wandb, or "
            "set tracking.wandb=null"
        )
    if "images" in config.stages and (reference := config.evaluation.reference):
        mistakes += _problem(judge.reference_pictures, Path(reference).expanduser(), config.classes)
        mistakes += _problem(inception.load, config.evaluation.inception) if config.evaluation.inception else []
    for key, folder, written in (
        ("paths.runs", config.paths.runs, True),
        ("generator.checkpoint_dir", config.generator.checkpoint_dir, "generators" in config.stages),
        ("adapter.checkpoint_dir", config.adapter.checkpoint_dir, "adapters" in config.stages),
        ("images_output_dir", config.images_output_dir, nodes_are_here and "images" in config.stages),
    ):
        if written:
            mistakes += _unwritable(key, Path(folder))
    return list(dict.fromkeys(mistakes))


def warnings(config: Config) -> list[str]:
    """What will not stop the run, but makes its pictures mislead, as sentences."""
    known = pack.trained_classes(Path(flux.location(config.renderer)))
    prompts = {prompt(label) for label in known}
    unknown = [label for label in config.classes if prompt(label) not in prompts]
    slow = _slow(config)
    if not (known and unknown):
        return slow
    return [
        *slow,
        f"renderer.model={config.renderer.model} was trained for {len(known)} classes only: {', '.join(known)}. "
        f"For {', '.join(unknown)} its pictures show one of these instead, and the judge's verdict on them says "
        "nothing; choose classes among them, or a renderer for any class (renderer=flux_schnell adapter=attention, on "
        "a GPU)",
    ]


def _slow(config: Config) -> list[str]:
    """That pictures would take hours, where a large FLUX has only a CPU."""
    if "images" not in config.stages or config.images.output != "pictures":
        return []
    with contextlib.suppress(VegasError):  # a check says it
        if resolve_device(config.device) == "cpu" and (work := flux.work(config.renderer)).parameters > flux.LARGE:
            pictures = sum(node.pictures for node in config.nodes.values()) * (config.images.where != "server")
            pictures += config.images.server_samples * (config.images.where != "nodes")
            hours = pictures * work.operations / devices.cpu_speed(config.renderer.dtype) / 3600
            return [
                f"renderer.model={config.renderer.model} has {work.parameters / 1e9:.1f} billion parameters, and the "
                f"device is the CPU: {pictures} pictures would take about {hours:.0f} hours; use a GPU, draw fewer "
                "(samples_per_node), or write the embeddings (images.output=embeddings) and draw them elsewhere"
            ]
    return []


def lacking(config: Config, nodes_are_here: bool) -> list[str]:
    """Missing folders of data sets and missing checkpoints that the run needs, as sentences."""
    folders: list[str] = []
    if nodes_are_here and config.needs_recordings:
        folders = [absent for keys, data, _ in data_sets(config) if (absent := missing_folder(data, keys))]
    return list(dict.fromkeys([*folders, *_generators(config), *_adapters(config)]))


def _generators(config: Config) -> Iterator[str]:
    """Missing generators that the run loads instead of training them."""
    sampled = isinstance(config.aggregation, StudentConfig) or config.adapter.replay_samples
    draws = "images" in config.stages and config.images.source == "generator"
    if "generators" in config.stages or not (draws or ("adapters" in config.stages and sampled)):
        return
    folder = Path(config.generator.checkpoint_dir)
    found = names.find_generators(folder)
    if not found:
        yield (
            f"Checkpoint not found: no generator in {folder}{names.misfiled(folder)}; train generators first "
            "(stages=[generators]), or set generator.checkpoint_dir"
        )
        return
    for node, entry in config.nodes.items():
        for label in entry.selected_classes:
            if label not in found:
                close = difflib.get_close_matches(label, found, n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                yield (
                    f"Generator for class '{label}' not found{hint}: {folder} has generators for {', '.join(found)}"
                    f"{names.misfiled(folder)}; train it with stages=[generators], or change "
                    f"nodes.{node}.selected_classes"
                )


def _adapters(config: Config) -> Iterator[str]:
    """Missing adapters that the run loads instead of training them."""
    if "images" in config.stages and "adapters" not in config.stages:
        yield from dict.fromkeys(p for node in config.nodes for p in _problem(_fitting_adapter, config, node))
    if "adapters" in config.stages and config.adapter.local_checkpoint_dir:
        folder = Path(config.adapter.local_checkpoint_dir)
        yield from dict.fromkeys(p for node in config.nodes for p in _problem(_local_adapter, config, folder, node))


def _fitting_adapter(config: Config, node: str) -> None:
    """Raise :class:`VegasError` if a node has no adapter to draw with, or it does not fit the encoder or renderer."""
    rounds = names.adapter_rounds(config, node)
    path = rounds[max(rounds)]["t5"]
    spaces = load_header(path).get("spaces", {})
    there: dict[str, object] = {}
    with contextlib.suppress(VegasError):  # the check of the renderer says it
        local = Path(flux.location(config.renderer)).is_dir()  # else a hub would be asked
        if local:
            shape = flux.text_shape(config.renderer)
            there |= zip(("clip_width", "t5_tokens", "t5_width"), shape, strict=True)
    keys = dict.fromkeys(there, "renderer")
    if config.images.source == "recordings":
        there["audio"], keys["audio"] = encoders.fingerprint(config.encoder), "encoder"
    for key, value in there.items():
        if spaces.get(key, value) != value:
            raise VegasError(
                f"{path} does not fit {keys[key]}: its {key} is {spaces[key]}, expected {value}; use the {keys[key]}=… "
                "it was trained with (runs/<run>/config.yaml), or train adapters again"
            )


def _local_adapter(config: Config, folder: Path, node: str) -> None:
    """Raise :class:`VegasError` if a node has no adapter in ``folder``."""
    if not names.find_adapters(folder, node, names.source_run(config, folder)):
        raise VegasError(
            f"Checkpoint not found: no adapter of node {node} in {folder}{names.misfiled(folder)}; train adapters "
            "first, or set adapter.local_checkpoint_dir"
        )


def _overwritten(config: Config) -> Iterator[str]:
    """Adapters of other runs that have the names of this run's: run=a names one of node 1 like run=a_node_1 its own."""
    folder = Path(config.adapter.checkpoint_dir)
    for file, path in names.adapter_files(folder).items():
        name = names.ADAPTER_NAME.fullmatch(path.stem)
        owners = (name["run"], path.stem.rpartition("_round_")[0]) if name else ()
        if file.run != config.run and config.run in owners:
            yield (
                f"run={config.run} would write over {path}, which is of run {file.run}; choose another name, or "
                "another adapter.checkpoint_dir"
            )
            return


def _renderer(config: Config, nodes_are_here: bool) -> Iterator[str]:
    """Why the renderer cannot be loaded; it is not needed to write embeddings."""
    if problems := _problem(flux.location, config.renderer):
        yield from problems
        return
    needs_texts = "adapters" in config.stages or "text" in config.conditioning.model_dump().values()
    if needs_texts and config.renderer.model != "pack":
        yield from filter(None, [flux.incomplete(config.renderer, flux.TEXT_PARTS, strict=True)])
    if not ("images" in config.stages and config.images.output == "pictures"):
        return
    if nodes_are_here or config.images.where != "nodes":
        strict = config.renderer.model != "pack"  # which is tested
        problem = flux.incomplete(config.renderer, strict=strict) or memory.quantization_problem(config.renderer)
        yield from filter(None, [problem, config.renderer.judge and judge.judge_problem(config.renderer.judge)])
        yield from _problem(flux.transformer_config, config.renderer)  # of a hub: whether it gives the model
        if problems := _problem(resolve_device, config.device):
            yield from problems
        elif config.renderer.quantization == "none":  # with one, the check of the configuration says so
            yield from filter(None, [memory.mode_problem(config.renderer, resolve_device(config.device))])


def refused_folders(config: Config, only: str | None = None, checkpoints: bool = True) -> list[str]:
    """Why pictures cannot be drawn into folders that are not empty; arguments as for :func:`plan.planned_folders`."""
    found = []
    try:
        for planned in planned_folders(config, only, checkpoints):
            if refusal := planned.problem or _retrained(config, planned.folder):
                found.append(refusal)
    except VegasError as error:
        found.append(str(error))
    return found


def _retrained(config: Config, folder: Path) -> str | None:
    """Why what this run trains will not be what the pictures in ``folder`` were drawn from: other settings."""
    if config.images.overwrite or not (folder / runfile.NAME).is_file():
        return None
    try:
        before = runfile.read_runfile(folder).config
        stages = {stage for stage in config.stages if stage in before["stages"]}
        old, new = (trained_by(values, stages) for values in (before, config.model_dump(mode="json")))
    except (VegasError, KeyError, TypeError):
        return None  # it is written again
    if not (changed := differences(old, new)):
        return None
    return f"{folder} holds pictures of a training with other settings ({some(changed, 3)}); {REMEDY}"


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
