"""What `vegas-fl --help` prints, and what a command line says; no library is imported for it."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources

from vegas_fl.core.errors import VegasError


class UsageError(VegasError):
    """The command line cannot be read."""

    exit_code = 2


COMMANDS = {
    "plan": ("plan", "what a run would draw, what is missing, how long it takes"),
    "data": ("data", "stats, check: what nodes hold; unusable files, duplicates, leaks into the test set"),
    "compare": ("report", "several runs on one page"),
    "report": ("report", "write a run's page again"),
    "audit": ("report", "attack a run's own checkpoints: which of the recordings do they reveal?"),
    "verify": ("pictures", "check pictures, and draw a sample of them again"),
    "gallery": ("pictures", "a page with all pictures of a run"),
    "paint": ("pictures", "recordings to pictures, with a run's adapters"),
    "render": ("pictures", "draw the embeddings written by images.output=embeddings"),
    "import-config": ("imports", "a JSON configuration of the replaced system becomes an experiment"),
    "import-checkpoint": ("imports", "generators of the replaced system"),
    "deploy": ("deploy", "keys, certificates and processes of a federation on several machines"),
    "doctor": ("deploy", "check a machine of a deployment"),
    "bench": ("bench", "repeat the measurements of docs/measured.md"),
}
"""Command → its module in this package, and what it does."""

_COMMANDS = "\n".join(f"  {name:18}{line}" for name, (_, line) in COMMANDS.items())
TEXT = f"""\
Federated audio-to-image generation.

usage: vegas-fl [KEY=VALUE ...]            run a configuration; without overrides, the demo
       vegas-fl COMMAND ...                one of the tools below
       vegas-fl COMMAND --help             how to use it

Overrides
  experiment=NAME   start from a file of conf/experiment (esc10_10n, a2v_vegas_2n_2c_200s_kd, ...)
  GROUP=NAME        a file of conf/GROUP: data, encoder, generator, adapter, aggregation, renderer, engine
  KEY=VALUE         one setting: seed=7   nodes.0.samples_per_node=10   'nodes.0.selected_classes=[dog,rain]'
  ~KEY              without this entry: ~nodes.1
  Every key is described in docs/configuration.md and in the files of conf/; --cfg job prints them all.

Commands
{_COMMANDS}

Switches of a run, anywhere in the line
  --dry-run         only say what the run would do (vegas-fl plan)
  --cfg job         only print the configuration
  --config-dir DIR  find experiments of your own in DIR/experiment; for commands with KEY=VALUE too
  --multirun, -m    a run for each of several values: seed=1,2,3
  --overwrite       draw pictures again that other checkpoints or settings made
  --verbose         log everything
  --hydra-help      more, from Hydra
  --version, -V     print the version

Completion: eval "$(vegas-fl -sc install=bash)"   (zsh, fish: see --hydra-help)
"""

OWN = {"--verbose": "hydra.verbose=true", "--overwrite": "images.overwrite=true"}
"""Switches that stand for an override."""
HYDRA = ("--hydra-help", "--resolve", "--run", "-r")
VALUED = ("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--experimental-rerun")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
"""Hydra's switches: without a value, with one, and the values of `--info`, which may be left out."""
FOLDER, MULTIRUN, DRY_RUN = ("--config-dir", "-cd"), ("--multirun", "-m"), "--dry-run"
SWITCHES = (*OWN, *HYDRA, *VALUED, "--info", "-i", *FOLDER, *MULTIRUN, DRY_RUN)


@dataclass
class Line:
    """A command line, read: the order of command, switches and overrides is free."""

    command: str | None = None
    words: list[str] = field(default_factory=list)  # overrides; of a command, all its other words
    switches: list[str] = field(default_factory=list)  # those that Hydra gets
    folders: list[str] = field(default_factory=list)  # of --config-dir
    multirun: bool = False


def read(arguments: Sequence[str]) -> Line:
    """Read a command line.

    Raises
    ------
    UsageError
        A command or option is unknown, or an option lacks its value.
    """
    line, rest, early = Line(), list(arguments), []
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        runs = line.command in (None, "plan")
        if name in FOLDER or (name in VALUED and runs):
            if not (equals or rest):
                raise UsageError(f"{name}: expected a value after it; see vegas-fl --help")
            value = value if equals else rest.pop(0)
            if name in FOLDER:
                line.folders.append(value)
            else:
                line.switches += [name, value]
        elif word in MULTIRUN and runs:
            line.multirun = True
        elif word == DRY_RUN and runs:
            line.command = "plan"
        elif word in OWN and runs:
            line.words.append(OWN[word])
        elif word in HYDRA and runs:
            line.switches.append(word)
        elif line.command:
            line.words.append(word)
        elif word in ("--info", "-i"):
            line.switches += [word, *([rest.pop(0)] if rest and rest[0] in INFO else [])]
        elif word in COMMANDS:
            line.command, early, line.words = word, line.words, []
        elif word.startswith("-"):
            raise UsageError(f"{word}: unknown option{_meant(word, SWITCHES)}; see vegas-fl --help")
        elif "=" in word or word.startswith(("~", "+")):
            line.words.append(word)
        else:
            meant = f"; did you mean experiment={word}?" if _is_experiment(word) else _meant(word, COMMANDS)
            raise UsageError(f"{word}: unknown command{meant}; a setting is KEY=VALUE; see vegas-fl --help")
    line.words += early
    return line


def _meant(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _is_experiment(word: str) -> bool:
    return resources.files("conf").joinpath("experiment", f"{word}.yaml").is_file()
