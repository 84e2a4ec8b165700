"""Finding checkpoint files by what their headers say, and setting old ones aside."""

import shutil
import unicodedata
from pathlib import Path

import pytest

from vegas_fl.core.errors import VegasError
from vegas_fl.storage.names import (
    adapter_files,
    adapter_path,
    find_adapters,
    find_generators,
    generator_path,
    misfiled,
    set_aside,
)
from vegas_fl.storage.tensorfiles import save


def adapter(folder: Path, run: str, round_: int, node: str | None = None, branches: tuple[str, ...] = ("clip", "t5")):
    for branch in branches:
        header = {"kind": f"adapter.{branch}", "run": run, "round": round_, "node": node}
        save(adapter_path(folder, run, round_, branch, node), {}, header)


def generator(folder: Path, label: str, round_: int = 1) -> Path:
    path = generator_path(folder, "vae", round_, label)
    save(path, {}, {"kind": "generator", "class": label, "round": round_})
    return path


@pytest.mark.parametrize("headers", [True, False])
def test_rounds_sort_as_numbers(tmp_path: Path, headers: bool) -> None:
    for round_ in (1, 2, 9, 10):
        generator(tmp_path, "dog", round_)
        adapter(tmp_path, "run-1", round_)
        adapter(tmp_path, "run-1", round_ + 1, "0")
    adapter(tmp_path, "run-1", 11, branches=("clip",))  # its other branch is missing
    for path in () if headers else tmp_path.iterdir():
        save(path, {}, {})
    assert find_generators(tmp_path)["dog"].name == "vae_perclass_round_10_dog.safetensors"
    assert list(find_adapters(tmp_path)) == [1, 2, 9, 10]
    assert list(find_adapters(tmp_path, "0")) == [2, 3, 10, 11]
    assert find_adapters(tmp_path, "1") == {}
    assert misfiled(tmp_path) == ""


def test_a_run_may_be_named_like_a_nodes_file(tmp_path: Path) -> None:
    adapter(tmp_path, "study_node_1", 3)
    adapter(tmp_path, "study_node_1", 3, "0")
    assert list(find_adapters(tmp_path)) == [3] and list(find_adapters(tmp_path, "0")) == [3]
    assert find_adapters(tmp_path, "1") == {}


def test_adapters_of_two_runs_are_not_mixed(tmp_path: Path) -> None:
    adapter(tmp_path, "a", 1)
    adapter(tmp_path, "a_b", 1)
    adapter(tmp_path, "a_b", 2, branches=("t5",))
    assert find_adapters(tmp_path, run="a")[1]["clip"].name == "a_round_1_clip.safetensors"
    assert list(find_adapters(tmp_path, run="a_b")) == [1]
    with pytest.raises(VegasError, match=r"holds adapters of several runs \(a, a_b\), expected one"):
        find_adapters(tmp_path)
    set_aside(tmp_path, adapter_files(tmp_path, "a").values())
    assert list(find_adapters(tmp_path)) == [1] and list(find_adapters(tmp_path / "previous", run="a")) == [1]


def test_a_file_with_another_ones_name_is_taken_for_what_it_is(tmp_path: Path) -> None:
    dog, saw = generator(tmp_path, "dog"), generator(tmp_path, "chainsaw")
    shutil.copy(saw, dog)
    assert find_generators(tmp_path) == {"chainsaw": saw}
    assert "vae_perclass_round_1_dog.safetensors holds the generator of chainsaw" in misfiled(tmp_path)
    saw.unlink()
    assert find_generators(tmp_path) == {"chainsaw": dog}
    adapter(tmp_path, "r", 1)
    shutil.copy(adapter_path(tmp_path, "r", 1, "clip"), adapter_path(tmp_path, "r", 1, "t5"))
    shutil.copy(adapter_path(tmp_path, "r", 1, "clip"), adapter_path(tmp_path, "r", 9, "clip"))
    assert find_adapters(tmp_path) == {}
    assert "r_round_1_t5.safetensors holds the clip branch of round 1 of run r" in misfiled(tmp_path)


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    path = generator(tmp_path, "dog")
    assert list(find_generators(tmp_path)) == ["dog"]
    save(path, {}, {"kind": "generator", "class": "cat", "round": 1})
    assert list(find_generators(tmp_path)) == ["cat"]


def test_a_class_is_found_in_either_unicode_form(tmp_path: Path) -> None:
    save(tmp_path / unicodedata.normalize("NFD", "vae_perclass_round_1_café.safetensors"), {}, {})
    assert list(find_generators(tmp_path)) == ["café"]


def test_earlier_training_is_set_aside_not_lost(tmp_path: Path) -> None:
    (tmp_path / "a_round_1.safetensors").write_text("old")
    (tmp_path / "b.txt").write_text("kept")
    assert set_aside(tmp_path, tmp_path.glob("a_*")) == ["a_round_1.safetensors"]
    assert (tmp_path / "previous" / "a_round_1.safetensors").read_text() == "old"
    assert (tmp_path / "b.txt").exists()
