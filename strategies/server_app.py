"""The ServerApp: checks, gathers the nodes, and runs the stages."""

import json
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from strategies.analytic import Analytic
from strategies.base import AdapterStrategy
from strategies.fedavg import FedAvg
from strategies.kd import KD
from strategies.replay import Replay
from strategies.stages import pictures
from strategies.stages.generator_quality import evaluate_generators
from strategies.stages.generators import train_generators
from strategies.standalone import Standalone
from vegas_fl.algorithm.adapter import Adapter, Conditioning
from vegas_fl.config import Config, ConfigError, StudentConfig, compose, parse
from vegas_fl.core import logs, seeds, versions
from vegas_fl.core.devices import memory_explained, resolve_device
from vegas_fl.core.errors import some
from vegas_fl.federation.messages import Description
from vegas_fl.federation.nodes import Federation
from vegas_fl.rendering import flux
from vegas_fl.rendering.text_targets import text_targets
from vegas_fl.runs import preflight
from vegas_fl.runs.progress import exclusive
from vegas_fl.runs.record import Record
from vegas_fl.storage.generators import load_class_generator
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.names import adapter_files, find_generators, set_aside

STRATEGIES: dict[str, type[AdapterStrategy]] = {
    "kd": KD,
    "replay": Replay,
    "fedavg": FedAvg,
    "analytic": Analytic,
    "standalone": Standalone,
}

log = logging.getLogger("vegas_fl.server")
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the configuration that came with the run."""
    logs.show(sys.stdout)  # under Flower nobody has configured logging; its own log takes what is printed
    config = read_config(context.run_config)
    if mistakes := preflight.check(config, nodes_are_here=False):
        raise ConfigError(mistakes)
    with memory_explained():
        run(grid, config)


def read_config(run_config: Mapping[str, Any]) -> Config:
    """The configuration of a run: resolved JSON if there is any, else composed from Hydra overrides."""
    if resolved := str(run_config.get("resolved", "")):
        return parse(json.loads(resolved))
    return compose(shlex.split(str(run_config.get("overrides", ""))))


def run(grid: Grid, config: Config) -> None:
    """All stages of a run."""
    log.info("run %s on %s", config.run, versions.shown())
    if difference := versions.difference():
        log.warning("%s", difference)
    with exclusive(config):
        federation = Federation(grid, config)
        described = federation.gather()
        for note in merged({node: description.notes for node, description in described.items()}):
            log.info("%s", note)
        record = Record(config)
        for warning in preflight.warnings(config):
            log.warning("%s", warning)
            record.add(stage="warning", text=warning)
        federation.record_in(record)
        federation.on_join = lambda description: _keep_clips(record, description)
        for description in described.values():
            _keep_clips(record, description)
        with record.to_the_end():
            _stages(federation, record, described)
        for line in record.results():
            log.info("%s", line)
        log.info("run %s finished in %.0f s; report: %s", config.run, record.seconds, record.folder / "report.html")


def merged(notes: Mapping[str, Mapping[str, Sequence[str]]]) -> list[str]:
    """The notes of the nodes (first key) about their classes (second), one sentence for all that say the same."""
    about: dict[str, list[str]] = {}
    for node, by_class in notes.items():
        for label, ends in by_class.items():
            for end in ends:
                about.setdefault(end, []).append(f"node {node} ({label})")
    return [f"{some(who)}: {'each ' if len(who) > 1 else ''}{end}" for end, who in about.items()]


def _keep_clips(record: Record, description: Description) -> None:
    """Record which clips a node uses, if it said so."""
    if description.manifest is not None:
        record.clips(description.node, description.manifest.model_dump())


def _stages(federation: Federation, record: Record, described: dict[str, Description]) -> None:
    """The stages the configuration asks for."""
    config, targets = federation.config, None
    if "adapters" in config.stages or "text" in config.conditioning.model_dump().values():
        with record.stage("text targets"):
            cache = Path(config.paths.cache).expanduser()
            targets = text_targets(config.classes, config.renderer, cache, resolve_device(config.device))
    if config.needs_recordings:
        spaces = _spaces(config, described)
        _check_generators(config, spaces)
    done = record.progress.has
    if "generators" in config.stages and not done("generators"):
        with record.stage("generators"):
            train_generators(federation, record, spaces)
    if config.evaluates_generators and not done("evaluating generators"):
        with record.stage("evaluating generators"):
            evaluate_generators(federation, record, spaces)
            record.done("evaluating generators")
    if "adapters" in config.stages:
        assert targets is not None
        with record.stage("adapters"):
            _train_adapters(federation, record, spaces, targets)
    if "images" in config.stages:
        with record.stage("images"):
            pictures.render(federation, record, targets)


def _check_generators(config: Config, spaces: Spaces) -> None:
    """Raise :class:`VegasError`, before anything is trained, if a generator that is only loaded is damaged or was
    trained on other embeddings."""
    if "generators" in config.stages:
        return
    sampled = isinstance(config.aggregation, StudentConfig) or config.adapter.replay_samples
    draws = "images" in config.stages and config.images.source == "generator"
    if draws or ("adapters" in config.stages and sampled):
        for label, path in find_generators(Path(config.generator.checkpoint_dir)).items():
            if label in config.classes:
                load_class_generator(path, spaces.audio, label)


def _spaces(config: Config, described: dict[str, Description]) -> Spaces:
    """The spaces of the run: FLUX's side from the renderer, the audio side as the nodes that take part agree on it."""
    audio = next(description.audio for description in described.values() if description.audio)
    clip_width, t5_tokens, t5_width = flux.text_shape(config.renderer)
    return Spaces(
        audio.tokens,
        audio.width,
        clip_width,
        t5_tokens,
        t5_width,
        audio=audio.fingerprint,
        text=flux.text_fingerprint(config.renderer),
    )


def _train_adapters(federation: Federation, record: Record, spaces: Spaces, targets: Conditioning) -> None:
    """Rounds of the configured strategy, from a seeded adapter."""
    config = federation.config
    folder = Path(config.adapter.checkpoint_dir)
    if not record.progress.begun("adapters") and (
        moved := set_aside(folder, adapter_files(folder, config.run).values())
    ):
        log.info("moved %d adapter files of an earlier training to %s", len(moved), folder / "previous")
    record.progress.begin("adapters")
    with seeds.reproducible(config.seed, "adapter", threads=config.threads):
        initial = Adapter(spaces.shape, config.adapter, targets)
    STRATEGIES[config.aggregation.name](federation, record, spaces, targets).run(initial.state_dict())
