"""The command ``vegas-fl``: help, a tool or a run. Hydra and PyTorch are imported by what needs them alone."""

import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator

from vegas_fl.cli import usage
from vegas_fl.core.devices import memory_explained
from vegas_fl.core.errors import VegasError

HELP, VERSION, COMPLETION = ("-h", "--help"), ("-V", "--version"), ("-sc", "--shell-completion")


def main() -> None:
    """Entry point of the console script."""
    with ended():
        _dispatch(sys.argv[1:])


@contextlib.contextmanager
def ended() -> Iterator[None]:
    """End the process as a command does: a sentence in place of a traceback, and an exit code (2: a mistake of the
    input, 1: a failure)."""
    try:
        try:
            with memory_explained():
                yield
        except VegasError as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nInterrupted. Files already written stay; run the same command to continue.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever reads our output has seen enough, as in `vegas-fl --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)


def _dispatch(words: list[str]) -> None:
    named = [word for word in words if word in usage.COMMANDS]
    if any(word in COMPLETION for word in words) or "--hydra-help" in words:
        from vegas_fl.cli import job

        job.complete(words) if "--hydra-help" not in words else job.hydra(words)
    elif words[:1] == ["help"] or (words and words[0] in HELP):
        _help(words[words.index(named[0]) :] if named else [])
    elif not named and any(word in HELP for word in words):
        _help([])
    elif words and words[0] in VERSION:
        print(f"vegas-fl {importlib.metadata.version('vegas-fl')}")
    else:
        line = usage.read(words)
        if line.command is None or (line.command == "plan" and (line.multirun or line.switches)):
            from vegas_fl.cli import job

            job.run_line(line)
        else:
            from vegas_fl.cli import app

            app.run(line.command, line.words, line.folders)


def _help(words: list[str]) -> None:
    """How to use ``vegas-fl``, or the command that ``words`` begin with."""
    if not words:
        print(usage.TEXT, end="")
        return
    from vegas_fl.cli import app

    app.run(words[0], [*words[1:], "--help"])
