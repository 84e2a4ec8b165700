"""A run, or one for each of several values, as Hydra starts it; what a run would do; completion of command lines."""

import itertools
import logging
import os
import re
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from hydra import main as hydra_main
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from vegas_fl.cli import app, usage
from vegas_fl.cli.main import ended
from vegas_fl.config import Config, ConfigError, sound, validate
from vegas_fl.config.composing import composition
from vegas_fl.config.overrides import accepted, searchpath, sentence_of
from vegas_fl.core.errors import VegasError
from vegas_fl.engines.run import elsewhere, run

LONGEST_NAME = 100
"""Letters of a job's name, so that the names of its files stay within what systems allow."""
NAMED = "hydra.job.config.override_dirname.exclude_keys"
"""Hydra's key for the overrides that are left out of a job's name."""


class Job(NamedTuple):
    """One run of a sweep: its name, and its overrides with the name among them."""

    name: str
    words: list[str]


def run_line(line: usage.Line) -> None:
    """Do what a command line says: run, show the configuration, or plan; for each job of a sweep."""
    options = [word for word in line.words if word.startswith("-")]  # of plan
    typed = [word for word in line.words if word not in options]
    words = [*searchpath([Path(folder) for folder in line.folders]), *accepted(typed, sweep=line.multirun)]
    if line.multirun and (line.command or line.switches):
        for job in _jobs(words)[1]:
            if line.switches:
                print(f"# {job.name}", flush=True)
            _single(line, job.words, options)
    elif line.multirun:
        left_out, jobs = _jobs(words)
        _check(jobs)
        keys = ",".join(f'"{key}"' for key in left_out)
        hydra(["--multirun", *words, f"{NAMED}=[{keys}]"])
    else:
        _single(line, words, options)


def _single(line: usage.Line, words: Sequence[str], options: Sequence[str]) -> None:
    """One run, or what is to be known about it."""
    if line.switches or not line.command:
        hydra([*line.switches, *words])
    if line.command:
        app.run(line.command, [*words, *options])


def hydra(words: Sequence[str]) -> None:
    """Hand a command line to Hydra.

    Raises
    ------
    ConfigError
        It cannot compose the configuration.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # its errors are raised, and not printed with their traces
    sys.argv[1:] = words
    try:
        _main()
    except HydraException as error:
        raise ConfigError([sentence_of(error)]) from error


@hydra_main(version_base="1.3", config_path="pkg://conf", config_name="config")
def _main(composed: DictConfig) -> None:
    job = HydraConfig.get()
    if job.mode is RunMode.MULTIRUN:
        left_out = job.job.config.override_dirname.exclude_keys
        _rename(composed, [word for word in job.overrides.task if _key(word) not in left_out], job.overrides.task)
    with ended():  # Hydra would add a line about its job
        config = _checked(composed, job.overrides.task)
        from vegas_fl.rendering.choice import choices
        from vegas_fl.rendering.plan import node_bytes

        for line in choices(config, [word.lstrip("+") for word in job.overrides.task]):
            logging.getLogger("vegas_fl.server").info("%s", line)
        run(config, node_bytes)


def _checked(composed: DictConfig, overrides: Sequence[str], may_lack: bool = False) -> Config:
    """The configuration, after every check that is possible before the run."""

    def check(config: Config) -> list[str]:
        from vegas_fl.runs import preflight

        return preflight.check(config, nodes_are_here=not elsewhere(config), may_lack=may_lack)

    return sound(lambda: validate(composed, overrides), check)


def _jobs(words: Sequence[str]) -> tuple[list[str], list[Job]]:
    """The jobs of a sweep, and the keys left out of their names: those that are the same in all jobs, the run's
    name itself, and the experiment where it names the run. :class:`ConfigError` if two jobs would be the same run.
    """
    parsed = OverridesParser.create().parse_overrides(list(words))
    try:
        product = [list(job) for job in itertools.product(*map(_values, parsed))]
    except HydraException as error:
        raise ConfigError([sentence_of(error)]) from error
    constant = [one.key_or_group for one in parsed if not one.is_sweep_override()]
    for left_out in ([*constant, "run", "experiment"], [*constant, "run"]):
        jobs: list[Job] = []
        seen: set[tuple[str, str]] = set()
        twice = ""
        for job in product:
            composed = composition(job)
            try:
                _rename(composed, [word for word in job if _key(word) not in left_out], job)
                values = {key: composed[key] for key in ("run", "series")}
            except OmegaConfBaseException:
                validate(composed)  # tells it
                raise
            own = [f"{key}={value}" for key, value in values.items() if value is not None]
            jobs.append(Job(str(values["run"]), [*job, *accepted(own)]))
            does = {(values["run"], stage) for stage in composed.stages or ()}
            twice = composed.run if does & seen else twice
            seen |= does
        if not twice:
            return left_out, jobs
    raise ConfigError([f"--multirun: two jobs would be the run {twice}; give them different values, or names (run=…)"])


def _values(override: Override) -> list[str]:
    """An override for each of the values that it names."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _rename(composed: DictConfig, changes: Sequence[str], job: Sequence[str]) -> None:
    """Give a job of a sweep a name of its own, from those of its overrides in which it differs from the others.

    Its generators are kept under a series of its own, unless ``series`` is among the overrides. A job that trains none
    uses those that an earlier sweep made with values among its overrides, or else those of the series.
    """
    changes, series = sorted(changes, key=_key), composed.series
    if not isinstance(composed.run, str):  # reported with the other mistakes
        return
    composed.run, composed.series = _named(composed.run, changes), series
    if any(_key(word) == "series" for word in job):
        return
    if "generators" in (composed.stages or ()):
        composed.series = _named(series, changes)
        return
    place = composed.generator.checkpoint_dir
    for size in (3, 2, 1):  # the more values agree, the better
        for some in itertools.combinations(sorted(job, key=_key), size):
            composed.series = _named(series, some)
            if composed.generator.checkpoint_dir != place and Path(composed.generator.checkpoint_dir).is_dir():
                return
    composed.series = series


def _named(name: str, changes: Sequence[str]) -> str:
    """A run's name with overrides: ``demo-seed=1``. A hash replaces what file names cannot have."""
    if not changes:
        return name
    made, exact = name, True
    # Hydra may write a list again, with other quotes and blanks.
    plain = [re.sub(r"[\"']|(?<=,)\s+", "", word) for word in changes]
    for word in plain:
        value = word.partition("=")[2].strip("[] ")
        readable = re.sub(r"[^\w.+-]+", "_", value, flags=re.ASCII).strip("_")
        made, exact = f"{made}-{_key(word)}={readable}", exact and readable == value
    made = re.sub(r"[^\w.=+-]", ".", made, flags=re.ASCII)
    if exact and len(made) <= LONGEST_NAME:
        return made
    return f"{made[: LONGEST_NAME - 9]}-{sha256(' '.join(word.lstrip('+') for word in plain).encode()).hexdigest()[:8]}"


def _key(word: str) -> str:
    """The key of an override."""
    return word.lstrip("+~").partition("=")[0]


def _check(jobs: Sequence[Job]) -> None:
    """Raise the mistakes of all jobs before the first one starts; what an earlier job makes may be missing."""
    mistakes: dict[str, list[str]] = {}
    for job in jobs:
        try:
            _checked(composition(job.words), job.words, may_lack=True)
        except ConfigError as error:
            for mistake in error.mistakes:
                mistakes.setdefault(mistake, []).append(job.name)
    if mistakes:
        raise ConfigError([f"{', '.join(names)}: {mistake}" for mistake, names in mistakes.items()])


def complete(words: Sequence[str]) -> None:
    """Answer the shell: commands, groups and keys that the line it hands over may go on with; or install that."""
    line = os.environ.get("COMP_LINE")
    if not re.search(r"\b(un)?install=(bash|zsh|fish)\b" if line is None else "query=", " ".join(words)):
        raise usage.UsageError("-sc: expected install=SHELL or uninstall=SHELL, with SHELL one of bash, zsh, fish")
    if line is None:
        sys.argv[0] = "vegas-fl"  # the command that is completed, also for python -m vegas_fl
        hydra(words)
        return
    typed = line.split()[1:]
    partial = "" if line.endswith(" ") or not typed else typed.pop()
    try:
        read = usage.read(typed)
        folders = searchpath([Path(folder) for folder in read.folders])
    except VegasError:
        return
    known: list[str] = []
    if read.command is None and not read.words:
        known = [*usage.COMMANDS, *(switch for switch in usage.SWITCHES if partial.startswith("-"))]
    elif read.command is not None:
        tool = app.find(read.command, read.words)
        known = [
            option
            for parameter in tool.params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option[:1] == partial[:1] == "-"
        ]
        known += [] if tool.name in read.words else list(getattr(tool, "commands", {}))
    found = [word for word in known if word.startswith(partial)]
    if found:
        print("\n".join(found))
    if not partial.startswith("-") and (read.command is None or app.takes_overrides(tool)):
        overrides = [word for word in read.words if "=" in word]
        os.environ["COMP_LINE"] = " ".join(["vegas-fl", *folders, *overrides, partial])
        hydra(words)
