"""The cache: the same values warm and cold, nothing wrong ever read from it, nothing good lost."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open

from tests.support.sounds import embed_files, sound, yamnet
from vegas_fl.audio import embeddings
from vegas_fl.audio.clips import Clip, FileClip
from vegas_fl.audio.embeddings import embed
from vegas_fl.benchmarks.embedding import measure
from vegas_fl.core.errors import VegasError
from vegas_fl.data.datasets.toy import Toy


def write(folder: Path, count: int, seconds: float = 1.0) -> list[FileClip]:
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for index in range(count):
        path = folder / f"{index}.wav"
        soundfile.write(path, sound(seconds, index), 16_000)
        clips.append(FileClip("dog", str(path), None, path))
    return clips


def shards(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.safetensors"))


@dataclass(frozen=True)
class Unread(Clip):
    """A recording whose sound must not be asked for."""

    original: FileClip

    def content(self) -> str:
        return self.original.content()

    def read(self, rate: int, max_seconds: float, cancelled: list[str] | None = None) -> np.ndarray:
        raise AssertionError("read although it is in the cache")

    def format(self) -> tuple[float, int]:
        return self.original.format()


def unread(clips: list[FileClip]) -> list[Unread]:
    return [Unread(clip.label, clip.name, clip.fold, clip) for clip in clips]


def test_warm_and_cold_give_the_same(tmp_path: Path) -> None:
    clips = write(tmp_path / "sounds", 5)
    cold = embed(clips, yamnet(), cache_dir=tmp_path / "cache", max_seconds=5.0)
    warm = embed(unread(clips), yamnet(), cache_dir=tmp_path / "cache", max_seconds=5.0)
    none = embed(clips, yamnet(), cache_dir=None, max_seconds=5.0)
    assert cold.shape == (5, 8, 1024)
    assert cold.dtype == torch.float32
    assert torch.equal(cold, warm)
    assert torch.equal(cold, none)
    assert len(shards(tmp_path / "cache")) == 1


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    clips = write(tmp_path / "sounds", 4)
    first = embed(clips[:3], yamnet(), cache_dir=tmp_path / "cache", max_seconds=5.0)
    mixed = [*unread(clips[:3]), clips[3], clips[3]]
    second = embed(mixed, yamnet(), cache_dir=tmp_path / "cache", max_seconds=5.0)
    assert torch.equal(second[:3], first)
    assert torch.equal(second[3], second[4])
    assert not torch.equal(second[3], second[0])


def test_a_recording_is_known_by_its_content(tmp_path: Path) -> None:
    clips = write(tmp_path / "sounds", 1)
    before = embed(clips, yamnet(), cache_dir=tmp_path / "cache", max_seconds=5.0)
    soundfile.write(clips[0].path, sound(1.0, 99), 16_000)
    after = embed(clips, yamnet(), cache_dir=tmp_path / "cache", max_seconds=5.0)
    assert not torch.equal(before, after)


def test_other_settings_never_share_entries(tmp_path: Path) -> None:
    clips = write(tmp_path / "sounds", 1, seconds=3.0)
    cache = tmp_path / "cache"
    whole = embed(clips, yamnet(), cache_dir=cache, max_seconds=5.0)
    cut = embed(clips, yamnet(), cache_dir=cache, max_seconds=1.0)
    coarse = embed(clips, yamnet(tokens=2), cache_dir=cache, max_seconds=5.0)
    assert coarse.shape == (1, 2, 1024)
    assert not torch.equal(whole, cut)
    assert torch.equal(whole, embed(unread(clips), yamnet(), cache_dir=cache, max_seconds=5.0))


def test_bad_recordings_are_named_together_and_good_ones_kept(tmp_path: Path) -> None:
    clips = write(tmp_path / "sounds", 6)
    soundfile.write(clips[1].path, np.zeros(16_000), 16_000)
    clips[3].path.write_bytes(b"no sound")
    clips[5].path.unlink()
    twin = tmp_path / "twin.wav"
    twin.write_bytes(clips[1].path.read_bytes())
    clips.append(FileClip("dog", str(twin), None, twin))
    with pytest.raises(VegasError) as error:
        embed(clips, yamnet(batch_size=2), cache_dir=tmp_path / "cache", max_seconds=5.0)
    told = str(error.value)
    assert told.startswith("4 recordings cannot be used")
    for index, seen in ((1, "silent"), (3, "cannot be read"), (5, "cannot be opened"), (6, "same content")):
        assert f"{clips[index].name}" in told
        assert seen in told
    good = [clips[0], clips[2], clips[4]]
    assert embed(unread(good), yamnet(), cache_dir=tmp_path / "cache", max_seconds=5.0).shape[0] == 3
    kept = sum(len(list(safe_open(path, "pt").keys())) for path in shards(tmp_path / "cache"))
    assert kept == 3


def test_a_long_list_of_bad_recordings_is_cut(tmp_path: Path) -> None:
    clips = [FileClip("dog", f"missing {i}", None, tmp_path / str(i)) for i in range(50)]
    with pytest.raises(VegasError, match=r"^50 recordings(.*\n)+- and 30 more$"):
        embed(clips, yamnet(), cache_dir=None, max_seconds=5.0)


@pytest.mark.parametrize("damage", ["truncated", "changed", "nonsense"])
def test_a_damaged_shard_is_told_and_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    clips = write(tmp_path / "sounds", 3)
    cache = tmp_path / "cache"
    before = embed(clips, yamnet(), cache_dir=cache, max_seconds=5.0)
    [shard] = shards(cache)
    content = bytearray(shard.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "changed":
        content[-100] ^= 0xFF
    else:
        content = bytearray(b"\x00" * 50)
    shard.write_bytes(content)
    after = embed(clips, yamnet(), cache_dir=cache, max_seconds=5.0)
    assert torch.equal(before, after)
    assert "damaged" in caplog.text
    caplog.clear()
    assert torch.equal(before, embed(unread(clips), yamnet(), cache_dir=cache, max_seconds=5.0))
    assert not caplog.text


def test_an_empty_list_of_clips(tmp_path: Path) -> None:
    assert embed([], yamnet(), cache_dir=tmp_path / "cache", max_seconds=5.0).shape == (0, 8, 1024)


@pytest.mark.slow
def test_two_processes_at_once_leave_one_sound_cache(tmp_path: Path) -> None:
    clips = write(tmp_path, 8)
    context = multiprocessing.get_context("spawn")
    paths = [clip.path for clip in clips]
    parts = (paths[:6], paths[2:])
    workers = [context.Process(target=embed_files, args=(part, tmp_path / "cache")) for part in parts]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    cached = embed(unread(clips), yamnet(), cache_dir=tmp_path / "cache", max_seconds=5.0)
    fresh = embed(clips, yamnet(), cache_dir=None, max_seconds=5.0)
    assert torch.equal(cached, fresh)


def test_what_is_embedded_together_changes_nothing(tmp_path: Path) -> None:
    clips = write(tmp_path / "sounds", 5) + write(tmp_path / "long", 3, seconds=4.0)
    together = embed(clips, yamnet(), cache_dir=None, max_seconds=5.0)
    alone = [embed([clip], yamnet(batch_size=1), cache_dir=None, max_seconds=5.0) for clip in clips]
    assert torch.equal(together, torch.cat(alone))


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    clips = write(tmp_path / "sounds", 2)
    cache = tmp_path / "cache"
    embed(clips[:1], yamnet(), cache_dir=cache, max_seconds=5.0)
    folder = shards(cache)[0].parent
    old, new = folder / ".a.safetensors.1.tmp", folder / ".b.safetensors.2.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    embed(clips, yamnet(), cache_dir=cache, max_seconds=5.0)
    assert not old.exists() and new.exists()  # the other may be being written


@pytest.mark.slow
def test_many_processes_and_kills_leave_the_cache_of_one(tmp_path: Path) -> None:
    """What `vegas-fl bench embedding` measures, small."""
    figures = measure(150, processes=2, kills=3, folder=tmp_path, shard_seconds=0.2)
    assert figures.shared_is_same and figures.killed_is_same
    assert list(figures.kept) == sorted(figures.kept) and figures.kept[-1] > 0


def test_the_cache_is_fifty_times_faster(tmp_path: Path) -> None:
    clips = Toy(24).clips("dog")
    times = []
    for _ in range(4):
        start = time.process_time()  # other work on the machine does not count
        embed(clips, yamnet(), cache_dir=tmp_path, max_seconds=5.0)
        times.append(time.process_time() - start)
    assert times[0] >= 50 * min(times[1:])


def test_channels_that_cancel_are_told_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clips = write(tmp_path, 2)
    samples, rate = soundfile.read(clips[0].path)
    soundfile.write(clips[0].path, np.stack([samples, -samples], axis=1), rate)
    embed(clips, yamnet(), cache_dir=None, max_seconds=5.0)
    assert [record.getMessage() for record in caplog.records] == [
        f"channels cancel each other when they are mixed, so the loudest one is used: {clips[0].path}"
    ]


def test_the_encoder_is_loaded_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    real = embeddings.load_encoder
    monkeypatch.setattr(
        embeddings, "load_encoder", lambda config, device: loaded.append(device) or real(config, device)
    )
    for tokens, number in ((7, 0), (7, 1), (6, 2)):
        embed(write(tmp_path / str(number), 1), yamnet(tokens=tokens), cache_dir=None, max_seconds=1.0)
    assert loaded == ["cpu", "cpu"]
