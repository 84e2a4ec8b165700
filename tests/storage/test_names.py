"""Finding checkpoint files by their names, and setting old ones aside."""

import unicodedata
from pathlib import Path

from vegas_fl.storage.names import find_adapters, find_generators, set_aside
from vegas_fl.storage.tensorfiles import save


def test_rounds_sort_as_numbers(tmp_path: Path) -> None:
    for round_ in (1, 2, 9, 10):
        save(tmp_path / f"vae_perclass_round_{round_}_dog.safetensors", {}, {})
        for branch in ("clip", "t5"):
            save(tmp_path / f"run-1_round_{round_}_{branch}.safetensors", {}, {})
            save(tmp_path / f"run-1_node_0_round_{round_ + 1}_{branch}.safetensors", {}, {})
    save(tmp_path / "run-1_round_11_clip.safetensors", {}, {})  # its other branch is missing
    assert find_generators(tmp_path)["dog"].name == "vae_perclass_round_10_dog.safetensors"
    assert list(find_adapters(tmp_path)) == [1, 2, 9, 10]
    assert list(find_adapters(tmp_path, "0")) == [2, 3, 10, 11]
    assert find_adapters(tmp_path, "1") == {}


def test_a_class_is_found_in_either_unicode_form(tmp_path: Path) -> None:
    save(tmp_path / unicodedata.normalize("NFD", "vae_perclass_round_1_café.safetensors"), {}, {})
    assert list(find_generators(tmp_path)) == ["café"]


def test_earlier_training_is_set_aside_not_lost(tmp_path: Path) -> None:
    (tmp_path / "a_round_1.safetensors").write_text("old")
    (tmp_path / "b.txt").write_text("kept")
    assert set_aside(tmp_path, "a_*") == ["a_round_1.safetensors"]
    assert (tmp_path / "previous" / "a_round_1.safetensors").read_text() == "old"
    assert (tmp_path / "b.txt").exists()
