"""Hydra overrides, or plain values, → a checked :class:`Config`."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from vegas_fl.config.contradictions import contradictions
from vegas_fl.config.mistakes import ConfigError, sentence, without
from vegas_fl.config.overrides import accepted, told
from vegas_fl.config.whole import Config

_compose_lock = threading.Lock()


def compose(overrides: Sequence[str] = ()) -> Config:
    """Compose ``conf/`` with Hydra overrides and validate the result.

    Raises
    ------
    ConfigError
        Lists every mistake.
    """
    return validate(composition(overrides))


def sound(make: Callable[[], Config], check: Callable[[Config], Sequence[str]]) -> Config:
    """The configuration that ``make`` returns, if ``check`` finds no mistake in it.

    Raises
    ------
    ConfigError
        Lists the mistakes found by either.
    """
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
    """A stored configuration, or sections of one, with overrides; sections that are not stored come from ``conf/``.

    Parameters
    ----------
    stored : dict
        Resolved sections, as returned by ``Config.model_dump(mode="json")``.
    overrides : sequence of str
        As on the command line; ``renderer=flux_schnell`` replaces the whole section.

    Raises
    ------
    ConfigError
        Lists every mistake.
    """
    composed = _resolved(composition(overrides))
    values = composed | copy.deepcopy(stored)
    for override in overrides:
        if override.startswith("~"):
            raise ConfigError([f"{override}: a stored configuration cannot lose keys; change them with KEY=VALUE"])
        _copy(override.lstrip("+").partition("=")[0].split("."), composed, values)
    return parse(values)


def _copy(key: Sequence[str], source: dict[str, Any], target: dict[str, Any]) -> None:
    """Copy the value at ``key``, if ``source`` has one: ``experiment=…`` and ``hydra.…`` are not keys."""
    name, *rest = key
    if name in source and not rest:
        target[name] = source[name]
    elif name in source:
        if not isinstance(target.get(name), dict):
            target[name] = {}
        _copy(rest, source[name], target[name])


def validate(composed: DictConfig) -> Config:
    """Turn a composed configuration into a :class:`Config`, or raise :class:`ConfigError` with every mistake."""
    return parse(_resolved(composed))


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
            raise ConfigError([told(error)]) from error


def _resolved(composed: DictConfig) -> dict[str, Any]:
    """Plain values, references replaced, node ids as text (YAML reads an unquoted 0 as a number)."""
    try:
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([f"{error.full_key}: {str(error).splitlines()[0]}"]) from error
    if isinstance(values.get("nodes"), dict):
        values["nodes"] = {str(node): entry for node, entry in values["nodes"].items()}
    return {str(key): value for key, value in values.items() if key != "hydra"}


def parse(values: dict[str, Any]) -> Config:
    """Validate plain values (of YAML or JSON) as a :class:`Config`.

    Unknown keys and contradictions between sections are reported together. Values of a wrong type are reported
    first, because contradictions cannot be looked for.

    Raises
    ------
    ConfigError
        Lists every mistake.
    """
    mistakes: list[str] = []
    try:
        config = _read(values)
    except ValidationError as error:
        mistakes = [sentence(e, values) for e in error.errors()]
        unknown = [e["loc"] for e in error.errors() if e["type"] == "extra_forbidden"]
        if len(unknown) < len(mistakes):
            raise ConfigError(mistakes) from error
        config = _read(without(values, unknown))
    mistakes += contradictions(config)
    if mistakes:
        raise ConfigError(mistakes, config)
    return config


def _read(values: dict[str, Any]) -> Config:
    """Validate by way of JSON: pydantic's strict mode takes a list for a tuple only there."""
    return Config.model_validate_json(json.dumps(values))
