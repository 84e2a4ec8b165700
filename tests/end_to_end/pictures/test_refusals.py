"""Plans list what a run would draw; pictures that cannot be drawn are refused before any work."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from clients.client_app import app as client_app
from strategies import server_app
from tests.support.command import vegas
from tests.support.pictures import hashes
from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.engines.inprocess import InProcessGrid


@pytest.mark.parametrize(
    ("change", "both"),
    [
        (["seed=7"], r"run_seed is 42 there and 7 here"),
        (["renderer.steps=2"], r"renderer_fingerprint is '\w+' there and '\w+' here|steps is 1 there and 2 here"),
        pytest.param(["images.round=1"], r"clip_adapter is '\w+' there and '\w+' here", marks=pytest.mark.slow),
        pytest.param(["conditioning.t5=none"], "conditioning is .*'none'.* here", marks=pytest.mark.slow),
    ],
)
def test_another_configuration_is_refused(
    base: list[str], drawn: Path, tmp_path: Path, change: list[str], both: str
) -> None:
    before = hashes(drawn)
    for asked in ([], ["--dry-run"]):
        assert re.search(both, vegas(tmp_path, *base, *change, *asked, code=2).stderr)
    assert hashes(tmp_path / "out") == before
    assert "4 of them byte-identical" in vegas(tmp_path, "verify", str(tmp_path / "out/node_0")).stdout
    vegas(tmp_path, *base, *change, "--overwrite")
    assert set(hashes(tmp_path / "out")) == set(before) and hashes(tmp_path / "out") != before


def test_plan_tells_and_writes_nothing(base: list[str], tmp_path: Path) -> None:
    done = vegas(tmp_path, *base, "images.where=both", "images.server_samples=5", "--dry-run")
    assert "node 1: 4 pictures (2 of chainsaw, 2 of dog)" in done.stdout and "server: 5 pictures" in done.stdout
    assert re.search(r"to be drawn: 15\n.*a batch of 4 takes [\d.]+ s", done.stdout)
    assert re.search(r"estimated time: \d+ s\ndisk: about 0.\d MB", done.stdout)
    assert list(tmp_path.iterdir()) == []
    assert (
        "to be drawn: 15"
        in vegas(tmp_path, "plan", "--no-timing", *base, "images.where=both", "images.server_samples=5").stdout
    )
    rounds = vegas(tmp_path, "plan", "--no-timing", *base, "images.every=1").stdout
    assert "to be drawn: 30" in rounds and "round_2/node_1" in rounds
    written = vegas(tmp_path, "plan", *base, "images.output=embeddings").stdout
    assert "disk: about 0.0 MB (4 kB a picture)" in written and "estimated time" not in written
    assert "did you mean seed" in vegas(tmp_path, "plan", "sede=1", code=2).stderr
    huge = vegas(tmp_path, "plan", *base, "nodes.0.samples_per_node=2000000000", code=2)
    assert re.search(r"the pictures need about \d+ MB more, but \d+ MB are free", huge.stderr)
    assert "draws no pictures" in vegas(tmp_path, "plan", "stages=[generators]").stdout


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["renderer.quantization=int3"], "renderer.quantization"),
        (["renderer.quantization=nf4"], "renderer.quantization=nf4 needs"),
        (["renderer.memory=sequential"], "renderer.memory=sequential needs a GPU"),
        (
            ["renderer.memory=sequential", "renderer.quantization=int8"],
            "memory=sequential does not work with renderer.quantization=int8",
        ),
        (["renderer.model={tmp}/incomplete"], "lacks its component vae"),
        (["renderer.height=70"], "multiple of 16 pixels, got 70; use 64"),
        (["images.where=server", "images.adapters=local"], "the server has no adapter of its own"),
        (["images.where=both", "images.source=recordings"], "the server has no recordings"),
        (["images.every=2", "images.round=1"], "set one of them to null"),
        (["images.where=server", "images.server_samples=1"], "less than the 2 classes"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(
    base: list[str], tmp_path: Path, change: list[str], sentence: str
) -> None:
    (tmp_path / "incomplete" / "transformer").mkdir(parents=True)
    (tmp_path / "incomplete" / "model_index.json").write_text("{}")
    (tmp_path / "incomplete" / "transformer" / "config.json").write_text("{}")
    (tmp_path / "incomplete" / "transformer" / "x.safetensors").write_text("")
    done = vegas(tmp_path, *base, *(c.format(tmp=tmp_path) for c in change), code=2)
    assert sentence in done.stderr
    if len(change) == 1 or "where" in change[0]:  # torchao, which int8 needs beside, may be there or not
        assert "1 mistake" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_pack_is_one_sentence(base: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vegas_tiny", None)  # as where only the app came, by Flower
    told = vegas(tmp_path, *base, code=2).stderr
    assert "1 mistake" in told and "the tiny pack (package vegas_tiny) is not installed here, so its model flux" in told


def test_a_node_refuses_pictures_of_another_seed_before_anything_is_trained(
    base: list[str], drawn: Path, tmp_path: Path
) -> None:
    before = hashes(drawn)
    config = compose([*base, "stages=[generators,adapters,images]", "seed=7", f"paths.checkpoints={tmp_path / 'c'}"])
    nodes = InProcessGrid(client_app, 2)  # as on machines of their own, whose folders the server cannot check
    with pytest.raises(VegasError, match=r"nothing was trained.\n- .*run_seed is 42 there and 7 here"):
        server_app.run(nodes, config)
    assert hashes(drawn) == before and not (tmp_path / "c").exists()


def test_what_is_there_is_counted_by_its_content(base: list[str], drawn: Path, tmp_path: Path) -> None:
    (drawn / "node_0/dog_0002.png").write_bytes(b"half a picture")
    (drawn / "node_1/dog_0001.png").unlink()
    planned = vegas(tmp_path, "plan", "--no-timing", *base).stdout
    assert "node_0, 5 already there" in planned and "node_1, 3 already there" in planned
    assert "to be drawn: 2" in planned
