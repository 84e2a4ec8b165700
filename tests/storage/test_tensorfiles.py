"""Checkpoint files: whole or not at all, and refused when they do not fit."""

from pathlib import Path

import pytest
import torch

from vegas_fl.core.errors import VegasError
from vegas_fl.storage.tensorfiles import Damaged, load, misfit, save


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5)}
    save(tmp_path / "x.safetensors", tensors, {"kind": "test", "round": 3})
    loaded, header = load(tmp_path / "x.safetensors", kind="test")
    assert all(torch.equal(tensors[k], loaded[k]) for k in tensors)
    assert header["round"] == 3
    assert list(tmp_path.iterdir()) == [tmp_path / "x.safetensors"]


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(VegasError, match="Checkpoint not found.*run the step"):
        load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text"])
def test_damage_is_detected(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.safetensors"
    save(path, {"a": torch.randn(100)}, {})
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-7] ^= 1
    path.write_bytes({"truncate": data[:-40], "flip": data, "empty": b"", "text": b"hello" * 30}[damage])
    with pytest.raises(VegasError, match=str(path)):
        load(path)


def test_file_of_another_run_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {"audio": "yamnet"})
    with pytest.raises(VegasError, match="audio is 'yamnet', expected 'ast'"):
        load(tmp_path / "x.safetensors", audio="ast")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({}, "lacks a"),
        ({"a": torch.zeros(2), "b": torch.zeros(1)}, "unexpected tensors: b"),
        ({"a": torch.zeros(3)}, r"shape \[3\], expected \[2\]"),
        ({"a": torch.zeros(2, dtype=torch.float64)}, "float64"),
        ({"a": torch.tensor([0.0, float("nan")])}, "not finite"),
        ({"a": torch.tensor([0.0, float("inf")])}, "not finite"),
    ],
)
def test_misfit_names_the_reason(state: dict[str, torch.Tensor], reason: str) -> None:
    import re

    assert re.search(reason, misfit(state, {"a": torch.zeros(2)}) or "")


def test_a_flipped_letter_of_the_header_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save(path, {"a": torch.zeros(2)}, {"class": "dog"})
    path.write_bytes(path.read_bytes().replace(b"dog", b"dig"))
    with pytest.raises(Damaged, match="does not match its hash"):
        load(path)
