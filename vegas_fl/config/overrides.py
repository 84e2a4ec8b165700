"""What people type as ``KEY=VALUE`` → an override that Hydra reads as it was meant, or a sentence with what to type."""

import difflib
import re
import shlex
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException

from vegas_fl.config.mistakes import ConfigError, types_at
from vegas_fl.config.whole import Config
from vegas_fl.core.errors import some

GROUPS = ("data", "encoder", "generator", "adapter", "aggregation", "renderer", "engine", "experiment", "nodes", "step")
"""The folders of ``conf/``: ``data=esc50`` chooses a file."""

_KEY = re.compile(r"(?P<prefix>~|\+{0,2})(?P<key>[\w$@/.:-]+)", re.ASCII)


class _Unreadable(Exception):
    """A value that can be read in several ways, or in none; the text is how one of them is typed."""


def accepted(typed: Sequence[str], sweep: bool = False) -> list[str]:
    """Overrides for Hydra: any key may be set, as unknown ones are reported later with all other mistakes, and values
    are quoted where only one meaning is possible. With ``sweep``, ``seed=1,2`` asks for two runs; otherwise it is a
    mistake.

    Raises
    ------
    ConfigError
        Lists every override that cannot be read.
    """
    read, mistakes = [], []
    for word in typed:
        try:
            read.append(_accepted(word, sweep))
        except _Unreadable as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError(mistakes)
    return read


def searchpath(folders: Sequence[Path]) -> list[str]:
    """The override for ``--config-dir``: folders with more files for the groups of ``conf/``. :class:`ConfigError`
    lists those that are not there."""
    if absent := [folder for folder in folders if not folder.expanduser().is_dir()]:
        missing = "folder not found; expected one that holds experiment/NAME.yaml"
        raise ConfigError([f"--config-dir {folder}: {missing}" for folder in absent])
    found = ",".join(_quoted(f"file://{folder.expanduser().absolute()}") for folder in folders)
    return [f"hydra.searchpath=[{found}]"] if found else []


def _accepted(word: str, sweep: bool) -> str:
    name, equals, value = word.partition("=")
    match = _KEY.fullmatch(name)
    if not match or not (equals or match["prefix"] == "~"):
        raise _Unreadable(
            f"{word}: expected KEY=VALUE; keys are listed by vegas-fl --cfg job and docs/configuration.md"
        )
    if not equals or match["prefix"] == "~":
        return word
    prefix, key = match["prefix"], match["key"]
    if not (prefix or _is_group(key) or key.startswith("hydra.")):
        prefix = "++"
    reader = _list if _is_list(key) else _text if _is_text(key) else _other
    read = ",".join(reader(key, part) for part in _parts(value))
    if not sweep and _parsed(read).is_sweep_override():
        one = f"[{value}]" if _is_list(key) else _quoted(value)
        hint = f"; as one value: {shlex.quote(f'{name}={one}')}" if _is_list(key) or _is_text(key) else ""
        raise _Unreadable(f"{word}: several values; for a run of each, add --multirun{hint}")
    return f"{prefix}{key}={read}"


def _parsed(value: str) -> Override:
    return OverridesParser.create().parse_override(f"x={value}")


def _tried(value: str) -> Override | None:
    try:
        return _parsed(value)
    except HydraException:
        return None


def _quoted(text: str) -> str:
    return str(QuotedString(text=text, quote=Quote.double).with_quotes())


def _parts(value: str) -> list[str]:
    """The values between the commas outside of brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in value:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and not parts[-1].strip():
            quote = letter
        else:
            depth += (letter in "[({") - (letter in "])}")
        if letter == "," and not (depth or quote):
            parts.append("")
        else:
            parts[-1] += letter
    return [value] if depth or quote else [part.strip() for part in parts]


def _text(key: str, value: str) -> str:
    """A value that is text, even if it reads as a number."""
    parsed = _tried(value)
    if parsed is None:
        if value[0] in "'\"":
            raise _unreadable(key, value)
        return _quoted(value)
    if parsed.is_sweep_override():
        return value
    return _quoted(value) if isinstance(parsed.value(), bool | int | float | list | dict) else value


def _list(key: str, value: str) -> str:
    """A list, of which a single value is one too; texts in it may read as numbers."""
    parsed = _tried(value)
    if parsed is None:
        return _other(key, value) if value[0] == "[" else f"[{_other(key, value)}]"
    read = None if parsed.is_sweep_override() else parsed.value()
    if isinstance(read, list):
        texts = str in _options(key, element=True)
        return _flow(key, value, texts) if texts and not all(isinstance(one, str) for one in read) else value
    return value if read is None or value.startswith("${") else _list(key, f"[{value}]")


def _other(key: str, value: str) -> str:
    """A value that Hydra can read, or text in quotes."""
    if _tried(value) is not None:
        return value
    if value[0] in "[{":
        return _flow(key, value, str in _options(key, element=True))
    if value[0] in "'\"":
        raise _unreadable(key, value)
    return _quoted(value)


def _flow(key: str, value: str, texts: bool) -> str:
    """A list or mapping as YAML reads it, its texts in quotes; with ``texts``, all that it holds are."""
    try:
        written = _written(yaml.compose(value, yaml.SafeLoader), texts)
    except yaml.YAMLError:
        written = ""
    if not written or _tried(written) is None:
        raise _unreadable(key, value)
    return written


def _written(node: yaml.Node, texts: bool) -> str:
    """A part of a YAML document in Hydra's syntax."""
    if isinstance(node, yaml.SequenceNode):
        return f"[{','.join(_written(one, texts) for one in node.value)}]"
    if isinstance(node, yaml.MappingNode):
        return "{" + ",".join(f"{key.value}:{_written(one, texts)}" for key, one in node.value) + "}"
    plain = node.style is None and not texts and _tried(node.value) is not None
    return node.value if plain else _quoted(node.value)


def _unreadable(key: str, value: str) -> _Unreadable:
    bare = value.strip("[]") if _is_list(key) else value
    text = ",".join(_quoted(part.strip(" '\"")) for part in (bare.split(",") if _is_list(key) else [bare]))
    typed = shlex.quote(f"{key}=[{text}]" if _is_list(key) else f"{key}={text}")
    return _Unreadable(f"{key}={value}: the value cannot be read; if it is text, put it in quotes: {typed}")


def _options(key: str, element: bool = False) -> set[Any]:
    """The types that a key may have; with ``element``, those of what its list holds."""
    found = set(types_at(Config, key.split(".")))
    if element:
        inner = [one for option in found for one in typing.get_args(option)]
        return {typing.get_args(one)[0] if typing.get_origin(one) is typing.Annotated else one for one in inner}
    return found


def _is_text(key: str) -> bool:
    return str in _options(key) or _is_group(key)


def _is_group(key: str) -> bool:
    return key in GROUPS or "@" in key or "/" in key


def _is_list(key: str) -> bool:
    return any(typing.get_origin(option) is tuple for option in _options(key))


def sentence_of(error: HydraException) -> str:
    """Hydra's error as a sentence: without its search path, and without a ``++`` that nobody typed."""
    first = re.sub(r"(?<![\w+])\+\+(?=\w)", "", str(error).strip().splitlines()[0])
    if unused := re.match(r"Could not override '([a-z]+)'. No match in the defaults list", first):
        group = unused[1]
        example = "0.samples_per_node=10" if group == "nodes" else "KEY=VALUE"
        return f"{group}=…: this configuration chooses no file of conf/{group}; set keys, as in {group}.{example}"
    inside = first.startswith("In ") and not first.startswith(("In 'config'", "In 'hydra/config'"))
    if inside or not isinstance(error, MissingConfigException) or not error.missing_cfg_file:
        return first
    group, _, name = error.missing_cfg_file.rpartition("/")
    options = list(error.options or ())
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    hint = f"did you mean {group}={close[0]}?" if close else f"there is: {some(options, 8)}."
    if group == "experiment":
        hint += " A file of your own needs --config-dir FOLDER, with the file in FOLDER/experiment"
    return f"{group}={name}: conf/{error.missing_cfg_file}.yaml not found; {hint}"
