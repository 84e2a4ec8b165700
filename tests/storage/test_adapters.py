"""Which adapter is read when several exist and one is damaged."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.support.adapters import SHAPE, config
from vegas_fl.algorithm.adapter import Adapter
from vegas_fl.storage.adapters import adapter_header, load_newest, save_adapter
from vegas_fl.storage.headers import Spaces
from vegas_fl.storage.names import find_adapters
from vegas_fl.storage.tensorfiles import Damaged


@pytest.fixture
def rounds(tmp_path: Path) -> Path:
    """Adapters of rounds 2 and 10."""
    spaces = Spaces(**asdict(SHAPE), audio="a", text="t")
    for round_ in (2, 10):
        save_adapter(tmp_path, "r", round_, Adapter(SHAPE, config()).state_dict(), adapter_header(spaces, config()))
    return tmp_path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def test_the_newest_is_of_the_highest_round(rounds: Path) -> None:
    files, adapter = load_newest(find_adapters(rounds))
    assert files["t5"].name == "r_round_10_t5.safetensors" and adapter.header["round"] == 10


def test_an_earlier_adapter_replaces_a_damaged_one_with_a_warning(
    rounds: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    flip(rounds / "r_round_10_t5.safetensors")
    _, adapter = load_newest(find_adapters(rounds))
    assert adapter.header["round"] == 2
    assert "r_round_10_t5.safetensors is damaged" in caplog.text
    assert "using the adapter of round 2 instead" in caplog.text


def test_it_is_an_error_if_all_are_damaged(rounds: Path) -> None:
    for round_ in (2, 10):
        flip(rounds / f"r_round_{round_}_clip.safetensors")
    with pytest.raises(Damaged, match="round_2_clip.safetensors is damaged"):
        load_newest(find_adapters(rounds))


@pytest.mark.parametrize("architecture", ["attention", "statistics", "linear"])
def test_an_adapter_is_built_with_the_architecture_that_its_header_names(tmp_path: Path, architecture: str) -> None:
    """Headers of earlier versions name none: these adapters pool by attention."""
    settings, spaces = config(architecture=architecture), Spaces(**asdict(SHAPE), audio="a", text="t")
    header = adapter_header(spaces, settings)
    if architecture == "attention":
        del header["config"]["architecture"], header["config"]["token_width"]
    save_adapter(tmp_path, "r", 1, Adapter(SHAPE, settings).state_dict(), header)
    _, saved = load_newest(find_adapters(tmp_path))
    assert saved.build().t5.state_dict().keys() == Adapter(SHAPE, settings).t5.state_dict().keys()
