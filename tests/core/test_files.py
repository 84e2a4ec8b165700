"""Atomic writes, and rejection of pipes, devices and unsafe YAML."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.support.command import vegas
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import locked, own_secret, parse_yaml, read_text, write_atomically


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file, not a folder")
    with pytest.raises(VegasError, match="cannot be written"):
        write_atomically(blocked / "x", b"data")
    assert blocked.read_text() == "a file, not a folder"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="expected a regular file"):
        read_text(tmp_path / "pipe")


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "[" * 5000,
        "when: 2024-13-45",
        "a: !!python/object/apply:os.system [ls]",
        "x" * (2**22 + 1),
        "{a: [b",
    ],
    ids=["aliases", "deep", "date", "tag", "long", "open"],
)
def test_yaml_that_is_more_than_values_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


@pytest.mark.parametrize("line", ["import-config pipe", "doctor pipe", "gallery out", "verify out", "report out"])
def test_commands_refuse_pipes(line: str, tmp_path: Path) -> None:
    for name in ("pipe", "out/node_0/manifest.jsonl", "out/node_0/run.json", "out/config.yaml", "out/metrics.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name)
    told = vegas(tmp_path, *line.split(), code=1)
    assert "expected a regular file" in told.stdout + told.stderr or "Run out not found" in told.stderr


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "own" / "clips.secret"
    first = own_secret(path)
    assert len(first) == 32 and first == own_secret(path) != own_secret(tmp_path / "other")
    for damaged in ("", "zz", "00"):
        path.write_text(damaged)
        with pytest.raises(VegasError, match="restore it, or remove it"):
            own_secret(path)


def test_two_processes_never_change_a_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0")

    def add() -> None:
        for _ in range(20):
            with locked(path):
                write_atomically(path, str(int(path.read_text()) + 1).encode(), durable=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: add(), range(4)))
    assert path.read_text() == "80"
