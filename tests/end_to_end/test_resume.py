"""Stopped at any moment, the same command goes on from what is done and ends with the same files."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from clients import train_generator
from tests.support.command import vegas
from tests.support.once import Once
from vegas_fl.runs import progress
from vegas_fl.runs.report.read import read

SMALL = [
    *("run=small", "stages=[generators,adapters]", "rounds=3", "data.clips_per_class=15", "samples_per_node=8"),
    *("generator.epochs=3", "adapter.local_epochs=1", "aggregation.epochs=1", "aggregation.samples_per_class=20"),
    *("evaluation.compare=[]", "nodes.0.samples_per_node=8", "nodes.1.samples_per_node=8"),
]
ROUND_3 = "checkpoints/adapters/small/small_round_3_t5.safetensors"


def hashes(folder: Path) -> dict[str, str]:
    """Content of every checkpoint, those of earlier trainings apart."""
    found = sorted(p for p in (folder / "checkpoints").glob("**/*.safetensors") if "previous" not in p.parts)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def steps(folder: Path) -> list[tuple[str, int | None]]:
    """What a run says it has done."""
    state = folder / "runs/small/state.json"
    if not state.exists():
        return []
    return [(step["stage"], step["round"]) for step in json.loads(state.read_text("utf8"))["steps"]]


def accuracies(folder: Path) -> list[Any]:
    """The figures a report shows, without times."""
    run = read(folder / "runs/small")
    return [(x["round"], x["adapter"], x["branch"], x["accuracy"], x["mse"]) for x in run.evaluations]


@pytest.fixture(scope="module")
def small(embedding_cache: Path) -> list[str]:
    return [*SMALL, f"paths.cache={embedding_cache}"]


@pytest.fixture(scope="module")
def undisturbed(once: Once, small: list[str]) -> Path:
    return once.folder("undisturbed", lambda folder: vegas(folder, *small))


@pytest.fixture
def stopped(tmp_path: Path, small: list[str]) -> Callable[[int], None]:
    """Let a run in ``tmp_path`` be killed with SIGKILL once it has done so many steps."""

    def stop(after: int) -> None:
        command = [sys.executable, "-m", "vegas_fl", *small]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(steps(tmp_path)) < after:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()

    return stop


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_same_files(
    undisturbed: Path, tmp_path: Path, small: list[str], stopped: Callable[[int], None]
) -> None:
    for after in (1, 4):
        stopped(after)
        assert ROUND_3 not in hashes(tmp_path)
    done = vegas(tmp_path, *small)
    assert "run small continues; done so far: generators, evaluating generators, adapters round 1" in done.stdout
    assert "round 1, accuracy" not in done.stdout and "round 3, accuracy" in done.stdout
    assert hashes(tmp_path) == hashes(undisturbed)
    assert accuracies(tmp_path) == accuracies(undisturbed)
    (attempt,) = read(tmp_path / "runs/small").attempts
    assert attempt.end and "problem" not in attempt.end
    assert not list(tmp_path.glob("checkpoints/**/previous"))


@pytest.fixture
def two_rounds(undisturbed: Path, tmp_path: Path) -> Path:
    """A run that was interrupted in its third round."""
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "runs/small/state.json"
    state = json.loads(path.read_text("utf8").replace(str(undisturbed), str(tmp_path)))
    state |= {"complete": False, "steps": state["steps"][:-1]}
    path.write_bytes(progress.sealed(state))
    for file in tmp_path.glob("checkpoints/adapters/small/*_round_3_*"):
        file.unlink()
    return tmp_path


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-50] ^= 4
    path.write_bytes(data)


def another(path: Path) -> None:
    shutil.copy(path.with_name(path.name.replace("round_2", "round_1")), path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncated, "cannot be read"),
        pytest.param(flipped, "does not match its hash", marks=pytest.mark.slow),
        pytest.param(another, "has changed", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_round_is_told_and_the_one_before_is_used(
    undisturbed: Path, two_rounds: Path, small: list[str], damage: Callable[[Path], None], reason: str
) -> None:
    damage(two_rounds / "checkpoints/adapters/small/small_round_2_t5.safetensors")
    done = vegas(two_rounds, *small)
    assert "adapters round 2 is repeated" in done.stdout and reason in done.stdout
    assert "round 1, accuracy" not in done.stdout and "round 2, accuracy" in done.stdout
    assert hashes(two_rounds) == hashes(undisturbed)


def test_a_damaged_generator_is_trained_again_and_all_that_came_of_it(
    undisturbed: Path, two_rounds: Path, small: list[str]
) -> None:
    flipped(two_rounds / "checkpoints/generators/small/vae_perclass_round_1_dog.safetensors")
    done = vegas(two_rounds, *small)
    assert "generators is repeated" in done.stdout and "round 1, accuracy" in done.stdout
    assert hashes(two_rounds) == hashes(undisturbed)


def test_other_settings_start_anew_and_lose_nothing(two_rounds: Path, small: list[str]) -> None:
    before = set(hashes(two_rounds).values())
    done = vegas(two_rounds, *small, "seed=7", "rounds=1")
    assert "seed 42 → 7" in done.stdout and "rounds 3 → 1" in done.stdout
    kept = {
        hashlib.sha256(p.read_bytes()).hexdigest() for p in two_rounds.glob("checkpoints/**/previous/*.safetensors")
    }
    assert before <= kept


def test_what_does_not_decide_the_result_may_change(undisturbed: Path, two_rounds: Path, small: list[str]) -> None:
    done = vegas(two_rounds, *small, "federation.timeout=500", "evaluation.compare=[fedavg]")
    assert "run small continues" in done.stdout
    assert hashes(two_rounds) == hashes(undisturbed)


@pytest.mark.slow
def test_a_finished_run_started_again_is_a_new_one(two_rounds: Path, small: list[str]) -> None:
    vegas(two_rounds, *small)
    done = vegas(two_rounds, *small)
    assert "continues" not in done.stdout and "moved the generators of an earlier training to" in done.stdout
    assert len(read(two_rounds / "runs/small").attempts) == 2


def rounds_flipped(path: Path) -> None:
    """Round 2 becomes round 6."""
    path.write_text(path.read_text("utf8").replace('"round": 2', '"round": 6'), "utf8")


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def keyless(path: Path) -> None:
    state = json.loads(path.read_text("utf8"))
    del state["base"]
    path.write_text(json.dumps(state), "utf8")


def another_format(path: Path) -> None:
    path.write_bytes(progress.sealed(json.loads(path.read_text("utf8")) | {"format": 9}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncated, ""),
        (halved, ""),
        (rounds_flipped, "it does not match its hash"),
        (keyless, "it does not match its hash"),
        (another_format, "expected format 1, got 9"),
        (lambda path: path.write_text("{}"), ""),
        (lambda path: path.write_text("[]"), ""),
        (lambda path: path.write_bytes(b"\xff"), ""),
    ],
)
def test_a_damaged_state_is_told_and_not_believed(
    undisturbed: Path, two_rounds: Path, small: list[str], damage: Callable[[Path], None], reason: str
) -> None:
    before = set(hashes(two_rounds).values())
    damage(two_rounds / "runs/small/state.json")
    told = vegas(two_rounds, *small).stdout
    assert "state.json cannot be read (" in told and reason in told and "moved to previous/" in told
    assert hashes(two_rounds) == hashes(undisturbed)
    kept = {hashlib.sha256(path.read_bytes()).hexdigest() for path in two_rounds.glob("checkpoints/**/*.safetensors")}
    assert before <= kept


@pytest.mark.slow
def test_what_another_training_left_is_kept_though_the_new_one_is_killed_in_its_first_stage(
    undisturbed: Path, tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt must not take the files of the other training for its own, and write over them."""
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    before, train, calls = hashes(tmp_path), train_generator.train, []

    def killed(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:  # node 1
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(train_generator, "train", killed)
    vegas(tmp_path, *small, "seed=7", code=130)
    monkeypatch.undo()
    assert "run small continues" in vegas(tmp_path, *small, "seed=7").stdout
    kept = {
        str(path.relative_to(tmp_path)).replace("previous/", ""): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tmp_path.glob("checkpoints/**/previous/*.safetensors")
    }
    assert kept == before


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(undisturbed: Path, tmp_path: Path, small: list[str]) -> None:
    """Also while files are written, and after the run was complete, when the same command starts anew."""
    draw = random.Random(0)
    for _ in range(10):
        command = [sys.executable, "-m", "vegas_fl", *small]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(3, 15))
        process.kill()
        process.wait()
    vegas(tmp_path, *small)
    assert hashes(tmp_path) == hashes(undisturbed)
    assert accuracies(tmp_path) == accuracies(undisturbed)


@pytest.mark.slow
def test_a_clock_that_jumps_changes_nothing(
    undisturbed: Path, tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = itertools.cycle([0.0, 1e9, -3e8, 1e8, -1.7e9])
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + next(jumps))
    done = vegas(tmp_path, *small)
    assert hashes(tmp_path) == hashes(undisturbed) and "was not written" not in done.stdout
    assert (tmp_path / "runs/small/report.html").exists()


def test_two_processes_do_not_work_on_one_run(
    tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOCK_WAIT", 0.1)
    (tmp_path / "runs/small").mkdir(parents=True)
    with FileLock(tmp_path / "runs/small/.lock"):
        done = vegas(tmp_path, *small, code=1)
    assert "another process works on it" in done.stderr


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Let writing fail, as on a full disk, from the first file with a certain word in its name on."""
    replace = os.replace

    def fill(word: str) -> None:
        def refuse(source: Any, target: Any) -> None:
            if word in str(target):
                raise OSError(28, "No space left on device")
            replace(source, target)

        monkeypatch.setattr(os, "replace", refuse)

    yield fill


def test_a_full_disk_is_a_sentence_and_loses_nothing(
    undisturbed: Path,
    tmp_path: Path,
    small: list[str],
    full_disk: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full_disk("small_node_1_round_2")
    done = vegas(tmp_path, *small, code=1)
    assert "No space left on device" in done.stderr and "free the disk" in done.stderr
    assert steps(tmp_path)[-1] == ("adapters", 1)
    monkeypatch.undo()
    vegas(tmp_path, *small)
    assert hashes(tmp_path) == hashes(undisturbed)


def test_half_a_line_of_metrics_does_not_hurt(two_rounds: Path, small: list[str]) -> None:
    path = two_rounds / "runs/small/metrics.jsonl"
    truncated(path)
    vegas(two_rounds, *small)
    for line in path.read_text("utf8").splitlines():
        json.loads(line)


def test_metrics_that_cannot_be_read_are_told(tmp_path: Path, small: list[str]) -> None:
    (tmp_path / "runs/small/metrics.jsonl").mkdir(parents=True)
    assert "metrics.jsonl cannot be read or written (Is a directory)" in vegas(tmp_path, *small, code=1).stderr


def test_a_record_counts_the_seconds_of_what_is_done(two_rounds: Path, small: list[str]) -> None:
    before = json.loads((two_rounds / "runs/small/state.json").read_text("utf8"))["steps"][-1]["seconds"]
    vegas(two_rounds, *small)
    end = read(two_rounds / "runs/small").attempts[-1].end
    assert end and end["seconds"] > before > 0
