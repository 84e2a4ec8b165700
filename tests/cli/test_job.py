"""Sweeps: their jobs are named by what differs, and find each other's generators."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import vegas


def shown(folder: Path, *words: str) -> dict[str, str]:
    """Name of each job of a sweep → its series."""
    lines = vegas(folder, *words, "--cfg", "job", "--resolve").stdout.splitlines()
    names = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    runs = [line.removeprefix("run: ") for line in lines if line.startswith("run: ")]
    assert names == runs
    return dict(zip(names, [line[8:] for line in lines if line.startswith("series: ")], strict=True))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["seed=1,2"], ["demo-seed=1", "demo-seed=2"]),
        (["rounds=3", "seed=1,2", "run=m"], ["m-seed=1", "m-seed=2"]),
        (
            ["seed=1,2", "aggregation=kd,replay"],
            [f"demo-aggregation={a}-seed={s}" for s in "12" for a in ("kd", "replay")],
        ),
        (["run=a,b"], ["a", "b"]),
        (["experiment=demo,esc10_10n"], ["demo", "esc10-10n"]),
        (["seed=range(1,3)"], ["demo-seed=1", "demo-seed=2"]),
        (["nodes.0.selected_classes=[dog],[drum]"], [f"demo-nodes.0.selected_classes={c}" for c in ("dog", "drum")]),
    ],
)
def test_jobs_are_named_by_what_differs(words: list[str], names: list[str], tmp_path: Path) -> None:
    assert list(shown(tmp_path, "-m", *words)) == names
    planned = vegas(tmp_path, *words, "--dry-run", "--multirun", "--no-timing").stdout
    assert [line.split(":")[0][4:] for line in planned.splitlines() if line.startswith("run ")] == names
    assert not list(tmp_path.iterdir())


def test_names_that_files_cannot_have_are_told_apart(tmp_path: Path) -> None:
    names = list(shown(tmp_path, "-m", "nodes.0.selected_classes=[café],[cafè],[a b],[a_b]", "run=m"))
    assert len(set(names)) == 4 and all(len(name) <= 100 and name.isascii() and " " not in name for name in names)
    (long, _) = shown(tmp_path, "-m", f"evaluation.reference={'a' * 200},{'b' * 200}", "run=m")
    assert len(long) == 100


def test_experiments_that_share_a_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    for name, seed in (("one", 1), ("two", 2)):
        text = f"# @package _global_\ndefaults: [demo]\nrun: same\nseed: {seed}\n"
        (tmp_path / "experiment" / f"{name}.yaml").write_text(text)
    words = ["-m", "--config-dir", ".", "experiment=one,two"]
    assert list(shown(tmp_path, *words)) == ["same-experiment=one", "same-experiment=two"]
    assert list(shown(tmp_path, "-m", "experiment=a2v_vegas_2n_2c_200s_train_generator,a2v_vegas_2n_2c_200s_kd")) == [
        *("vegas-2n-2c-200s", "vegas-2n-2c-200s-kd")
    ]


@pytest.mark.slow
def test_generators_of_jobs_are_apart_and_found_again(tmp_path: Path) -> None:
    assert shown(tmp_path, "-m", "seed=1,2", "run=m") == {"m-seed=1": "m-seed=1", "m-seed=2": "m-seed=2"}
    only = "stages=[adapters]"
    assert shown(tmp_path, "-m", only, "seed=1,2", "run=m") == {"m-seed=1": "m", "m-seed=2": "m"}
    assert set(shown(tmp_path, "-m", "seed=1,2", "run=m", "series=s").values()) == {"s"}
    typed = shown(tmp_path, "-m", only, "seed=1,2", "run=m", "generator.checkpoint_dir=.")
    assert set(typed.values()) == {"m"}
    (tmp_path / "checkpoints/generators/m-seed=1").mkdir(parents=True)
    assert shown(tmp_path, "-m", only, "seed=1,2", "run=m") == {"m-seed=1": "m-seed=1", "m-seed=2": "m"}
    more = shown(tmp_path, "-m", only, "seed=1,2", "aggregation=kd,replay", "run=m")
    assert [series for name, series in more.items() if name.endswith("seed=1")] == ["m-seed=1", "m-seed=1"]


def test_a_sweep_is_checked_before_its_first_job(tmp_path: Path) -> None:
    done = vegas(tmp_path, "-m", "seed=1,x", "nodes.0.selected_classes=[dgo]", code=2)
    assert "demo-seed=x: seed: input should be a valid integer" in done.stderr
    assert "demo-seed=1: " in done.stderr and "dgo" in done.stderr
    twice = vegas(tmp_path, "-m", "seed=1,1", code=2).stderr
    assert "two jobs would be the run demo-seed=1" in twice
    assert not list(tmp_path.iterdir())
