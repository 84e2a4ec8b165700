"""Shards of a cache while several processes read and write them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

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
