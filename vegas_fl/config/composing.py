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
from vegas_fl.config.whole import Config


def lenient(override: str) -> str:
    """Let Hydra accept a value for any key (``a.b=1`` → ``++a.b=1``): whether the key exists is checked with
    everything else, so that all mistakes are told at once. Choices of a group, deletions and Hydra's own
    keys are left as they are."""
    key = override.partition("=")[0]
    if not override[:1].isalpha() or "=" not in override or key in GROUPS or key.startswith("hydra."):
        return override
    return f"++{override}" if "@" not in key and "/" not in key else override


GROUPS = ("data", "encoder", "generator", "adapter", "aggregation", "renderer", "engine", "experiment", "nodes", "step")
"""The folders of ``conf/``: ``data=esc50`` chooses a file."""

_compose_lock = threading.Lock()


def compose(overrides: Sequence[str] = ()) -> Config:
    """Compose ``conf/`` with Hydra overrides and validate the result.

    Raises
    ------
    ConfigError
        Listing every mistake.
    """
    with _compose_lock:
        GlobalHydra.instance().clear()
        try:
            with initialize_config_module("conf", version_base="1.3"):
                composed = hydra_compose("config", overrides=[lenient(o) for o in overrides])
        except HydraException as error:
            raise ConfigError([str(error)]) from error
    return validate(composed)


def sound(make: Callable[[], Config], check: Callable[[Config], Sequence[str]]) -> Config:
    """What ``make`` makes, if ``check`` finds nothing wrong with it.

    Raises
    ------
    ConfigError
        Listing the mistakes of both.
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
    """A stored configuration, or part of one, with Hydra overrides over it and defaults for the rest.

    Parameters
    ----------
    stored : dict
        Resolved sections, as ``Config.model_dump(mode="json")`` gives them.
    overrides : sequence of str
        As on the command line; ``renderer=flux_schnell`` replaces the whole section.

    Raises
    ------
    ConfigError
        Listing every mistake.
    """
    fresh = compose(overrides).model_dump(mode="json")
    values = copy.deepcopy(fresh | stored)
    for override in overrides:
        *above, last = override.partition("=")[0].lstrip("+~").split(".")
        place, new = values, fresh
        for part in above:
            place, new = place[part], new[part]
        if last in new:
            place[last] = new[last]
    return parse(values)


def validate(composed: DictConfig) -> Config:
    """Turn a composed configuration into a :class:`Config`, or raise :class:`ConfigError` with every mistake."""
    try:
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([f"{error.full_key}: {str(error).splitlines()[0]}"]) from error
    settings = {str(key): value for key, value in values.items() if key != "hydra"}
    return parse(_normalised(settings))


def parse(values: dict[str, Any]) -> Config:
    """Validate plain values (of YAML or JSON) as a :class:`Config`.

    Unknown keys are reported together with what the checks across sections find, because those can still
    run; values of a wrong type hide the latter.

    Raises
    ------
    ConfigError
        Listing every mistake.
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
    """Strictly typed, by way of JSON, where a list is what a tuple is written as."""
    return Config.model_validate_json(json.dumps(values))


def _normalised(values: dict[str, Any]) -> dict[str, Any]:
    """Node ids as text (YAML reads an unquoted 0 as a number)."""
    if isinstance(values.get("nodes"), dict):
        values["nodes"] = {str(key): node for key, node in values["nodes"].items()}
    return values
