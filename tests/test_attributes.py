"""What is measured of a sound, the words for it, and targets that vary with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.command import vegas
from tests.test_layouts import vegas as vegas_folder
from vegas_fl.adapters import Conditioning
from vegas_fl.attributes import described, measure
from vegas_fl.targets import OWN_SHARE, spread

RATE = 16_000


def tone(pitch: float, level: float, seconds: float = 4.0) -> np.ndarray:
    return level * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (tone(3000, 0.5), ["loud", "high-pitched"]),
        (tone(300, 0.02), ["quiet", "low-pitched"]),
        (tone(1000, 0.15), []),
        (np.concatenate([tone(1000, 0.15, 0.5), np.zeros(3 * RATE)]), ["short"]),
        (tone(1000, 0.2) * (np.arange(4 * RATE) % (RATE // 4) < RATE // 10), ["rapid"]),
    ],
)
def test_words_are_what_stands_out(samples: np.ndarray, words: list[str]) -> None:
    assert [word for word in measure(samples, RATE).words if word in words or word != "short"] == words


def test_measures_have_units() -> None:
    found = measure(tone(1000, 0.1), RATE)
    assert found.level == pytest.approx(-23, abs=0.5)
    assert found.centroid == pytest.approx(1000, abs=30)
    assert found.seconds == pytest.approx(4.0, abs=0.1)


def test_prompts_read_well() -> None:
    assert described("dog", ["loud", "short"]) == "a loud, short dog"
    assert described("rain", ["quiet"]) == "quiet rain"
    assert described("dog", []) == "a dog"
    assert described("owl_x", ["loud"]) == "loud owl x"


def test_spread_targets_are_the_classes_on_average() -> None:
    torch.manual_seed(0)
    classes = Conditioning(torch.randn(3, 4), torch.randn(3, 2, 5))
    own = Conditioning(torch.randn(7, 4), torch.randn(7, 2, 5))
    labels = torch.tensor([0, 0, 0, 2, 2, 2, 2])
    made = spread(classes, labels, own)
    for branch, of, mine in zip(made, classes, own, strict=True):
        for label in (0, 2):
            assert torch.allclose(branch[labels == label].mean(0), of[label], atol=1e-5)
        assert torch.allclose(branch[1] - branch[0], OWN_SHARE * (mine[1] - mine[0]), atol=1e-5)


def test_captions_that_are_not_there_are_told(tmp_path: Path) -> None:
    root = vegas_folder(tmp_path / "VEGAS", {"video_00000": "a dog barks"})
    data = ["data=vegas", f"data.root={root}", "nodes.1.selected_classes=[baby_cry]", "targets=caption"]
    done = vegas(tmp_path, *data, code=2)
    assert "no clip of node 1 has a caption" in done.stderr
    assert "node 0" not in done.stderr


@pytest.mark.parametrize("targets", ["attributes", "class"])
def test_a_run_learns_them(tmp_path: Path, embedding_cache: Path, targets: str) -> None:
    small = ["data.clips_per_class=10", "samples_per_node=4", "stages=[adapters]", "aggregation=fedavg"]
    vegas(tmp_path, *small, f"targets={targets}", f"paths.cache={embedding_cache}")
    assert (tmp_path / "checkpoints/adapters/demo/demo_round_1_t5.safetensors").exists()
    assert any((embedding_cache / "attributes").glob("*.json"))
