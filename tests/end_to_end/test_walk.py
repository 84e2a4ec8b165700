"""A newcomer types every command of the pages, in their order: each ends well, and none does nothing."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from tests.support.command import vegas
from tests.support.guide import GUIDE
from tests.support.pages import typed
from tests.support.project import ROOT, experiment
from tests.support.sounds import write
from vegas_fl.cli import usage
from vegas_fl.config import compose
from vegas_fl.config.overrides import searchpath

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages call /data: folders of classes, ESC-50 and VEGAS, small."""
    root = tmp_path_factory.mktemp("data")
    for number, label in enumerate(("dog", "rain", "chainsaw", "drum")):
        for index in range(8):
            write(root / "sounds" / label / f"{index}.wav", seed=100 * number + index)
            write(root / "VEGAS" / label / "audios" / f"video_{index:05d}.wav", seed=100 * number + index + 50)
    (root / "ESC-50/meta").mkdir(parents=True)
    with (root / "ESC-50/meta/esc50.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        for number, label in enumerate(experiment("esc10_10n").classes):
            for index in range(10):
                name, source = f"{index % 5 + 1}-{number}{index}-A-{number}.wav", f"{number}{index}"
                write(root / "ESC-50/audio" / name, seed=1000 + 100 * number + index)
                rows.writerow([name, index % 5 + 1, number, label, True, source, "A"])
    return root


def smaller(words: list[str], folder: Path, data: Path, cache: Path) -> list[str]:
    """The same command on less: fewer clips, epochs and pictures."""
    words = [re.sub(r"/data/(?=[\w-])", f"{data}/", re.sub(r"(samples_per_node)=\d+", r"\1=4", word)) for word in words]
    line = usage.read(words)
    if line.command == "import-config":
        return [*words, "--size", "tiny"]  # FLUX.1 is not at hand
    if line.command not in (None, "plan", "data") or "--cfg" in words:
        return words
    once = [word for word in line.words if "=" in word and not (line.multirun and "," in word)]
    config = compose([*once, *searchpath([folder / more for more in line.folders])])
    less = {"paths.cache": cache} | {
        f"nodes.{name}.samples_per_node": 2 * len(node.selected_classes) for name, node in config.nodes.items()
    }
    if config.data.name == "toy":
        less["data.clips_per_class"] = 8
    if "generators" in config.stages:
        less["generator.epochs"] = 2
    return words + [
        f"{key}={value}" for key, value in less.items() if not any(word.startswith(f"{key}=") for word in words)
    ]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all of it is typed."""
    folder = tmp_path_factory.mktemp("newcomer")
    write(folder / "bark.wav", seed=1)
    write(folder / "siren.ogg", seed=2)
    (folder / "mine.json").write_text(GUIDE.replace("vegas-2n-2c-200s-generate", "mine-generate"))
    return folder


@pytest.mark.parametrize("page", ["README.md", "docs/runs.md", "docs/coming-from-json.md"])
def test_every_command_of_the_pages_ends_well(page: str, newcomer: Path, data: Path, embedding_cache: Path) -> None:
    lines = typed(ROOT / page)
    assert lines
    for words in lines:
        done = vegas(newcomer, *smaller(words, newcomer, data, embedding_cache))
        streamed = "engine=flower" in words  # by Flower's process
        assert streamed or done.stdout.strip(), f"vegas-fl {' '.join(words)} says nothing"
