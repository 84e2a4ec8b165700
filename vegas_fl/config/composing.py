"""From Hydra overrides or plain values to a checked :class:`Config`."""

import copy
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from vegas_fl.config.contradictions import contradictions
from vegas_fl.config.mistakes import ConfigError, reported, sentence, without
from vegas_fl.config.overrides import accepted, sentence_of
from vegas_fl.config.unused import unused
from vegas_fl.config.whole import Config, flat
from vegas_fl.core.names import shown, undecodable

T5_TOKENS = {"class": 17, "attributes": 32, "caption": 64}
"""``renderer.max_sequence_length=auto``: tokens that hold the texts of each kind of ``targets``."""

_compose_lock = threading.Lock()


def compose(overrides: Sequence[str] = ()) -> Config:
    """Compose ``conf/`` with Hydra overrides and validate the result; :class:`ConfigError` lists every mistake."""
    words = accepted(overrides)
    return validate(composition(words), words)


def sound(make: Callable[[], Config], check: Callable[[Config], Sequence[str]]) -> Config:
    """The configuration that ``make`` returns, if ``check`` finds no mistake in it; :class:`ConfigError` lists the
    mistakes found by either."""
    mistakes: tuple[str, ...] = ()
    try:
        config = make()
    except ConfigError as error:
        if error.config is None:
            raise
        mistakes, config = error.mistakes, error.config
    if mistakes := (*mistakes, *check(config)):
        raise ConfigError(mistakes)
    return config


def restored(stored: dict[str, Any], overrides: Sequence[str]) -> Config:
    """A stored configuration, or sections of one (as ``Config.model_dump(mode="json")`` has them), with overrides as on
    the command line; sections that are not stored come from ``conf/``. ``renderer=flux_schnell`` replaces the section.
    :class:`ConfigError` lists every mistake.
    """
    composed = OmegaConf.create(_resolved(composition(overrides)))
    values = OmegaConf.create(_resolved(composed) | stored)
    absent = object()
    for override in overrides:
        if override.startswith("~"):
            raise ConfigError([f"{override}: a stored configuration cannot lose keys; change them with KEY=VALUE"])
        key = override.lstrip("+").partition("=")[0]
        value = OmegaConf.select(composed, key, default=absent)
        if value is not absent:  # experiment=… and hydra.… are not keys
            OmegaConf.update(values, key, value, merge=False, force_add=True)
    return parse(_resolved(values), accepted(overrides))


def validate(composed: DictConfig, overrides: Sequence[str] = ()) -> Config:
    """Turn a configuration that was composed with ``overrides`` into a :class:`Config`, or raise :class:`ConfigError`
    with every mistake."""
    return parse(_resolved(composed), overrides)


def composition(overrides: Sequence[str]) -> DictConfig:
    """``conf/`` with Hydra overrides, not yet checked.

    Raises
    ------
    ConfigError
        An override cannot be read, or leads nowhere.
    """
    with _compose_lock:
        GlobalHydra.instance().clear()
        try:
            with initialize_config_module("conf", version_base="1.3"):
                return hydra_compose("config", overrides=accepted(overrides))
        except HydraException as error:
            raise ConfigError([sentence_of(error)]) from error


def _resolved(composed: DictConfig) -> dict[str, Any]:
    """Plain values, references replaced."""
    try:
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([f"{error.full_key}: {str(error).splitlines()[0]}"]) from error
    return {str(key): value for key, value in values.items() if key != "hydra"}


def parse(values: dict[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Validate plain values (of YAML or JSON) as a :class:`Config`.

    Unknown keys, contradictions between sections and ``overrides`` without an effect are reported together. Values of a
    wrong type are reported first, because contradictions cannot be looked for. A node without ``samples_per_node`` gets
    that of all nodes. :class:`ConfigError` lists every mistake.
    """
    if mistakes := list(_undecodable(values)):
        raise ConfigError(mistakes)
    if isinstance(nodes := values.get("nodes"), dict) and "samples_per_node" in values:
        common = {"samples_per_node": values["samples_per_node"]}
        values = values | {
            "nodes": {n: common | entry if isinstance(entry, dict) else entry for n, entry in nodes.items()}
        }
    renderer, targets = values.get("renderer"), values.get("targets")
    if isinstance(renderer, dict) and renderer.get("max_sequence_length") == "auto" and targets in T5_TOKENS:
        values = values | {"renderer": renderer | {"max_sequence_length": T5_TOKENS[targets]}}
    encoder, adapter = values.get("encoder"), values.get("adapter")
    if isinstance(encoder, dict) and encoder.get("attributes") == "auto":
        values = values | {"encoder": encoder | {"attributes": targets == "attributes"}}
        if targets == "attributes" and isinstance(adapter, dict) and adapter.get("architecture") == "attention":
            values = values | {"adapter": adapter | {"architecture": "attributes"}}
    try:
        config = _read(values)
    except ValidationError as error:
        errors = reported(error.errors())
        mistakes = [sentence(e, values) for e in errors]
        unknown = [e for e in errors if e["type"] == "extra_forbidden"]
        if len(unknown) < len(mistakes):
            raise ConfigError(mistakes) from error
        config = _read(without(values, unknown))
    mistakes += [*contradictions(config), *unused(config, overrides)]
    if mistakes:
        raise ConfigError(mistakes, config)
    return config


def anchored(config: Config) -> Config:
    """``config`` with all paths absolute: Flower's processes have other working directories."""
    values = config.model_dump(mode="json")
    places = [
        (values, "images_output_dir"),
        *((values["evaluation"], key) for key in ("reference", "inception")),
        (values["data"], "root"),
        (values["generator"], "checkpoint_dir"),
        (values["adapter"], "checkpoint_dir"),
        (values["adapter"], "local_checkpoint_dir"),
        *((values["paths"], key) for key in values["paths"]),
        *((node["dataset"], "root") for node in values["nodes"].values() if node["dataset"]),
    ]
    places += [
        (section, "model") for section in (values["renderer"], values["encoder"]) if _is_folder(section["model"])
    ]
    for section, key in places:
        if section.get(key) is not None:
            section[key] = str(Path(section[key]).expanduser().absolute())
    return parse(values)


def _is_folder(model: str) -> bool:
    return model != "pack" and Path(model).expanduser().is_dir()


def _undecodable(values: dict[str, Any]) -> Iterator[str]:
    """Texts that are not UTF-8: they could not be stored."""
    for key, value in flat(values):
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and undecodable(text):
                yield f"{key}: {shown(text)} is not in UTF-8; rename it, or give a link to it (ln -s) whose name is"


def _read(values: dict[str, Any]) -> Config:
    """Validate by way of JSON: pydantic's strict mode takes a list for a tuple only there."""
    return Config.model_validate_json(json.dumps(values))


def _with_text_keys(load: Callable[..., ConfigResult | None]) -> Callable[..., ConfigResult | None]:
    """Hydra's reading of a file, but with node ids as text: YAML reads an unquoted 0 as a number, which overrides
    (``nodes.0.…``) and other files do not find. Files of the package do not change, and are read once."""
    known: dict[Any, ConfigResult] = {}

    def loaded(repository: ConfigRepository, config_path: str) -> ConfigResult | None:
        key = config_path, *(source.path for source in repository.get_sources())
        if key in known:
            return copy.deepcopy(known[key])
        found = load(repository, config_path)
        if found is not None and isinstance(found.config, DictConfig):
            values = OmegaConf.to_container(found.config, resolve=False)
            if (text := _text_keys(values)) != values:
                found.config = OmegaConf.create(text)
        if found is not None and found.provider == "main" and found.path.startswith("pkg://"):
            known[key] = copy.deepcopy(found)
        return found

    return loaded


def _text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key) if type(key) is int else key: _text_keys(inner) for key, inner in value.items()}
    return value


ConfigRepository.load_config = _with_text_keys(ConfigRepository.load_config)  # type: ignore[method-assign]
