"""Help, version, completion, and the order of words on the command line."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.support.command import vegas
from tests.support.project import ROOT
from vegas_fl.cli import usage
from vegas_fl.cli.app import app

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def test_every_command_is_in_the_help() -> None:
    for module, _ in usage.COMMANDS.values():
        importlib.import_module(f"vegas_fl.cli.{module}")
    assert set(typer.main.get_command(app).commands) == set(usage.COMMANDS)  # type: ignore[attr-defined]
    files = {path.stem for path in (ROOT / "vegas_fl/cli").glob("*.py")}
    assert files - {module for module, _ in usage.COMMANDS.values()} == {"__init__", "app", "job", "main", "usage"}


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["seed=1", "--help"], ["--verbose", "-h"]])
def test_help_shows_the_commands_and_how_to_override(words: list[str], tmp_path: Path) -> None:
    shown = vegas(tmp_path, *words).stdout
    assert all(f"\n  {command} " in shown for command in usage.COMMANDS)
    assert "KEY=VALUE" in shown and "experiment=NAME" in shown and "docs/configuration.md" in shown
    assert max(map(len, shown.splitlines())) <= 110 and len(shown.splitlines()) < 50


@pytest.mark.parametrize("words", [["help", "plan"], ["--help", "plan"], ["plan", "-h"], ["plan", "--help"]])
def test_help_of_a_command(words: list[str], tmp_path: Path) -> None:
    assert vegas(tmp_path, *words).stdout.startswith("Usage: vegas-fl plan [OPTIONS]")
    assert vegas(tmp_path, "help", "data", "stats").stdout.startswith("Usage: vegas-fl data stats")


def test_hydra_keeps_its_own_help(tmp_path: Path) -> None:
    assert "Hydra" in vegas(tmp_path, "--hydra-help").stdout


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_version(word: str, tmp_path: Path) -> None:
    assert vegas(tmp_path, word).stdout == "vegas-fl 0.1.0\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["plna", "seed=1"], "plna: unknown command; did you mean plan?"),
        (["demo"], "did you mean experiment=demo?"),
        (["seed=1", "datta"], "did you mean data?"),
        (["--multrun", "seed=1,2"], "--multrun: unknown option; did you mean --multirun?"),
        (["--config-dir"], "--config-dir: expected a value after it"),
        (["--config-dir", "nowhere", "seed=1"], "--config-dir nowhere: folder not found"),
        (["compare", "a", "b", "--config-dir", "."], "vegas-fl compare reads no configuration; leave out --config-dir"),
        (["-sc"], "-sc: expected install=SHELL"),
    ],
)
def test_words_that_lead_nowhere(words: list[str], told: str, tmp_path: Path) -> None:
    done = vegas(tmp_path, *words, code=2)
    assert told in done.stderr and not done.stdout and len(done.stderr.splitlines()) <= 2


def test_the_order_of_words_is_free() -> None:
    wanted = usage.Line(None, ["seed=1", "rounds=2"], ["--cfg", "job"], ["d"], multirun=True)
    for line in (
        "-m seed=1 --cfg job rounds=2 --config-dir d",
        "seed=1 --config-dir=d rounds=2 --multirun --cfg=job",
        "--cfg job -cd d seed=1 -m rounds=2",
    ):
        assert usage.read(line.split()) == wanted
    planned = usage.Line("plan", ["--no-timing", "seed=1", "rounds=2"], folders=["d"])
    for line in ("--config-dir d plan --no-timing seed=1 rounds=2", "seed=1 rounds=2 plan --config-dir d --no-timing"):
        assert usage.read(line.split()) == planned
    assert usage.read(["seed=1", "--dry-run"]) == usage.Line("plan", ["seed=1"])
    assert usage.read(["render", "x", "--overwrite"]) == usage.Line("render", ["x", "--overwrite"])


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with an experiment of one's own."""
    file = tmp_path / "my own (1)" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\ndefaults: [demo]\nrun: mine\ndata: {clips_per_class: 8}\n")
    return file.parent.parent


@pytest.mark.parametrize("command", ["--cfg job", "--dry-run", "plan --no-timing", "data stats"])
def test_experiments_of_ones_own_work_with_every_command(command: str, own: Path, tmp_path: Path) -> None:
    words = command.split()
    for line in (["--config-dir", own.name, *words], [*words, f"--config-dir={own}"]):
        shown = vegas(tmp_path, *line, "experiment=mine", "stages=generators").stdout
        assert {"data": "dog", "--cfg": "run: mine"}.get(words[0], "run mine: generators;") in shown


@pytest.mark.parametrize(
    ("line", "found", "missing"),
    [
        ("pl", {"plan"}, {"data"}),
        ("", {"plan", "compare", "experiment=", "seed="}, {"--cfg"}),
        ("--mu", {"--multirun"}, {"--cfg"}),
        ("experiment=esc10_1", {"experiment=esc10_10n", "experiment=esc10_1n"}, {"experiment=demo"}),
        ("seed=1 --dry-run data.ro", {"data.root="}, {"plan"}),
        ("nodes.0.", {"nodes.0.selected_classes."}, set()),
        ("data st", {"stats"}, {"check"}),
        ("data stats enc", {"encoder=", "encoder."}, {"stats"}),
        ("plan --no", {"--no-timing"}, set()),
        ("compare x", set(), {"experiment="}),
        ("nonsense x", set(), {"experiment="}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", pytest.param("fish", marks=pytest.mark.slow)])
def test_completion(
    line: str, found: set[str], missing: set[str], shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", f"vegas-fl {line}")
    words = set(vegas(tmp_path, "-sc", f"query={shell}").stdout.split())
    assert found <= words and not missing & words


def test_completion_is_installed_for_the_command(tmp_path: Path) -> None:
    assert vegas(tmp_path, "-sc", "install=bash").stdout.rstrip().endswith("-F hydra_bash_completion vegas-fl")


def run(code: str, folder: Path, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, stdout=stdout, stderr=subprocess.PIPE, text=True)


def imported(words: list[str], folder: Path) -> set[str]:
    """The packages that a command imports."""
    done = run(
        "import sys, contextlib\nfrom vegas_fl.cli.main import main\n"
        f"sys.argv = ['vegas-fl', *{words!r}]\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print('imported', *{name.partition('.')[0] for name in sys.modules})",
        folder,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("words", [["--help"], ["-V"], ["plna"]])
def test_help_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    heavy = {"hydra", "omegaconf", "pydantic", "torch", "typer", "click", "numpy", "flwr", "yaml"}
    assert not heavy & imported(words, tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        *(["data", "stats", "data.clips_per_class=8"], ["report", "x"], ["gallery", "."], ["experiment=demmo"]),
        *(["deploy", "ca", "server.yaml"], ["import-config", "x.json"], ["-sc", "install=bash"]),
    ],
)
def test_what_needs_no_network_imports_no_torch(words: list[str], machines: Path) -> None:
    assert not {"torch", "transformers", "diffusers", "flwr", "sklearn"} & imported(words, machines)


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"], ["plan", "--help"], ["--hydra-help"]])
def test_a_reader_that_has_seen_enough_ends_it_silently(words: list[str], tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    code = f"import sys\nfrom vegas_fl.cli.main import main\nsys.argv = ['vegas-fl', *{words!r}]\nmain()"
    done = run(code, tmp_path, write)
    os.close(write)
    assert done.stderr == "" and done.returncode in (1, 141)
