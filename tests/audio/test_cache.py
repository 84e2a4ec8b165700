"""Shards of a cache while several processes read and write them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vegas_fl.audio.cache import Cache


def shards(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.safetensors"))


def test_what_another_process_wrote_meanwhile_is_not_written_twice(tmp_path: Path) -> None:
    first, second = (Cache(tmp_path, "space", 5.0) for _ in range(2))
    for cache, keys in ((first, "ab"), (second, "bc")):
        for key in keys:
            cache.add({key: torch.full((8, 1024), ord(key)).half()})
    first.flush()
    second.flush()
    held = [key for path in shards(tmp_path) for key in load_file(path)]
    assert sorted(held) == ["a", "b", "c"]
    assert set(second.read("abc")) == set("abc")


def test_a_shard_that_vanishes_while_it_is_opened_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process may find it damaged; torch then raises a RuntimeError."""
    cache = Cache(tmp_path, "f", 5.0)
    cache.add({"k": torch.zeros(2, 3)})
    cache.flush()

    def vanish(shard: Path, framework: str) -> object:
        shard.unlink()
        raise RuntimeError("unable to open file: No such file or directory (2)")

    monkeypatch.setattr("vegas_fl.audio.cache.safe_open", vanish)
    assert list(tmp_path.glob("*/*.safetensors"))
    assert cache.read(["k"]) == {}
    assert not list(tmp_path.glob("*/*.safetensors")) and not caplog.records


def filled(cache: Path) -> Path:
    """A cache with one embedding; its shard."""
    one = Cache(cache, "f", 5.0, (2, 3))
    one.add({"k": torch.ones(2, 3).half()})
    one.flush()
    (shard,) = shards(cache)
    return shard


def truncated(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-4])


def flipped(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    data[-3] ^= 1
    shard.write_bytes(data)


def of_another_shape(shard: Path) -> None:
    shard.unlink()
    other = Cache(shard.parents[1], "f", 5.0)
    other.add({"k": torch.ones(8, 1024).half()})
    other.flush()


def another_file(shard: Path) -> None:
    save_file({"k": torch.ones(2, 3).half()}, shard)


def empty(shard: Path) -> None:
    shard.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncated, flipped, of_another_shape, another_file, empty])
def test_a_damaged_shard_is_told_and_made_again(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(filled(tmp_path))
    cache = Cache(tmp_path, "f", 5.0, (2, 3))
    assert cache.read(["k"]) == {} and not shards(tmp_path)
    assert "its clips are embedded again" in caplog.text
    cache.add({"k": torch.ones(2, 3).half()})
    cache.flush()
    assert cache.read(["k"])["k"].shape == (2, 3)


def a_folder(shard: Path) -> None:
    shard.unlink()
    shard.mkdir()


def a_pipe(shard: Path) -> None:
    shard.unlink()
    os.mkfifo(shard)


def a_loop(shard: Path) -> None:
    shard.unlink()
    shard.symlink_to(shard.name)


@pytest.mark.parametrize("make", [a_folder, a_pipe, a_loop])
def test_what_is_no_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(filled(tmp_path))
    with Cache(tmp_path, "f", 5.0, (2, 3)) as cache:
        assert cache.read(["k"]) == {}
        cache.add({"other": torch.ones(2, 3).half()})
    assert set(cache.read(["other"])) == {"other"}


def test_the_file_of_another_user_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shard = filled(tmp_path)

    def refuse(path: Path, framework: str) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("vegas_fl.audio.cache.safe_open", refuse)
    assert Cache(tmp_path, "f", 5.0).read(["k"]) == {}
    assert shard.exists() and "cannot be read (Permission denied): its clips are embedded again" in caplog.text


def test_a_full_disk_costs_the_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with Cache(tmp_path, "f", 5.0) as cache:
        cache.add({"k": torch.ones(2, 3).half()})
    assert "No space left on device" in caplog.text and "1 clips will be embedded again" in caplog.text
    assert not list(tmp_path.rglob("*.*"))
