"""Problems are reported with the keys where they stand."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

import vegas_tiny
from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.data.checks import check_recordings
from vegas_fl.rendering.folder import plan
from vegas_fl.rendering.jobs import Job, job_path, recipes
from vegas_fl.rendering.runfile import write_runfile
from vegas_fl.runs import preflight
from vegas_fl.storage.names import adapter_path
from vegas_fl.storage.tensorfiles import save

OWN = "nodes.1.dataset"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ("train_folds: [1], test_folds: [1]", f"fold 1 is in both {OWN}.train_folds and {OWN}.test_folds"),
        ("test_ratio: 0.5", f"{OWN}.train_ratio + {OWN}.val_ratio + {OWN}.test_ratio is"),
        ("name: folder, root: gone", f"{OWN}.root=gone does not exist"),
        ("name: esc50, root: {tmp}", f"{OWN}.root={{tmp}} has no audio; data=esc50 needs a folder in ESC-50's layout"),
        ("name: vegas, root: {tmp}", f"{OWN}.root={{tmp}} has no <class>/audios/ with recordings"),
    ],
)
def test_a_mistake_of_one_nodes_data_names_that_nodes_keys(tmp_path: Path, changes: str, sentence: str) -> None:
    config = compose([f"{OWN}={{{changes.replace('{tmp}', str(tmp_path))}}}"])
    mistakes = check_recordings(config)
    assert any(sentence.replace("{tmp}", str(tmp_path)) in mistake for mistake in mistakes), mistakes
    assert not any(" data." in f" {mistake}" for mistake in mistakes)


def test_classes_the_renderer_never_saw_are_named(tmp_path: Path) -> None:
    known = compose(["nodes.0.selected_classes=[dog, crying_baby]", "nodes.1.selected_classes=[train]"])
    assert preflight.warnings(known) == []  # other names of classes it was trained for
    config = compose(["nodes.0.selected_classes=[dog]", "nodes.1.selected_classes=['My Cat']"])
    (warning,) = preflight.warnings(config)
    assert "trained for 16 classes only: baby_cry" in warning and "For My Cat its pictures show one of these" in warning
    assert "renderer=flux_schnell" in warning
    other = compose(["nodes.1.selected_classes=['My Cat']", f"renderer.model={tmp_path}"])
    assert preflight.warnings(other) == []  # a model that does not say what it was trained for
    (tmp_path / "classes.json").write_text("{")
    with pytest.raises(VegasError, match=r"classes.json cannot be read: expected a JSON list"):
        preflight.warnings(other)


@pytest.fixture
def drawn(tmp_path: Path) -> list[str]:
    """Overrides of a run, of which a picture is there."""
    words = [f"images_output_dir={tmp_path / 'out'}", f"paths.checkpoints={tmp_path / 'c'}", "run=r"]
    config = compose(words)
    recipe = recipes(config, "0", ["dog"], {"clip_adapter": "a", "t5_adapter": "b"}, generator="g")
    job = Job("0", job_path(config, "0"), plan(config.seed, "0", ["dog"], 1), lambda _: None, recipe, {})  # type: ignore[arg-type, return-value]
    job.folder(config.renderer).save(job.pictures[0], Image.new("RGB", (8, 8)))
    write_runfile(job, config)
    return words


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("seed=7", "run_seed is 42 there and 7 here"),
        ("renderer.steps=9", "renderer_fingerprint is"),
        ("conditioning.clip=none", "conditioning is"),
        ("adapter.local_epochs=3", r"a training with other settings \(adapter.local_epochs \d+ → 3\)"),
        ("generator.epochs=1", r"a training with other settings \(generator.epochs \d+ → 1\)"),
        ("rounds=2", r"a training with other settings \(rounds 1 → 2\)"),
        ("nodes.0.selected_classes=[drum]", "1 pictures that are not part of this run, such as dog_0001.png"),
    ],
)
def test_pictures_of_other_settings_are_refused_before_anything_is_trained(
    drawn: list[str], change: str, sentence: str
) -> None:
    (mistake,) = preflight.check(compose([*drawn, change]), nodes_are_here=True)
    assert re.search(sentence, mistake) and "choose another images_output_dir, or add --overwrite" in mistake
    assert preflight.check(compose([*drawn, change, "images.overwrite=true"]), nodes_are_here=True) == []
    assert preflight.check(compose([*drawn, change]), nodes_are_here=False) == []  # the nodes' folders are theirs


@pytest.mark.parametrize(
    "change", ["device=cpu", "nodes.0.samples_per_node=300", "engine=flower", "images.sheet_columns=3"]
)
def test_pictures_may_be_continued_with_what_does_not_change_them(drawn: list[str], change: str) -> None:
    assert preflight.check(compose([*drawn, change]), nodes_are_here=True) == []


def test_a_run_does_not_write_over_anothers_adapters(tmp_path: Path) -> None:
    words = [f"adapter.checkpoint_dir={tmp_path}", "stages=[adapters]", "aggregation=fedavg", f"paths.runs={tmp_path}"]
    path = adapter_path(tmp_path, "study", 1, "clip", "1")
    save(path, {}, {"kind": "adapter.clip", "run": "study", "round": 1, "node": "1"})
    (mistake,) = preflight.check(compose([*words, "run=study_node_1"]), nodes_are_here=True)
    assert f"run=study_node_1 would write over {path}, which is of run study" in mistake
    assert preflight.check(compose([*words, "run=study"]), nodes_are_here=True) == []
    assert preflight.check(compose([*words, "run=other"]), nodes_are_here=True) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("renderer.max_sequence_length=16", "does not fit renderer: its t5_tokens is 7, expected 16"),
        ("images.source=recordings", "does not fit encoder: its audio is another, expected"),
    ],
)
def test_adapters_of_another_renderer_or_encoder_draw_nothing(tmp_path: Path, change: str, sentence: str) -> None:
    words = [f"paths.checkpoints={tmp_path}", "stages=[images]", "run=r", f"images_output_dir={tmp_path / 'out'}"]
    spaces = {
        "t5_tokens": 7 if "renderer" in change else compose(words).renderer.max_sequence_length,
        "audio": "another",
    }
    for branch in ("clip", "t5"):
        header = {"kind": f"adapter.{branch}", "run": "r", "round": 1, "node": None, "spaces": spaces}
        save(adapter_path(tmp_path / "adapters/r", "r", 1, branch), {}, header)
    assert sentence in "\n".join(preflight.check(compose([*words, change]), nodes_are_here=True))


def test_a_large_model_on_a_cpu_is_warned_of_with_the_hours(tmp_path: Path) -> None:
    shutil.copytree(vegas_tiny.path("flux"), tmp_path / "flux")
    path = tmp_path / "flux" / "transformer" / "config.json"
    large = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128}
    path.write_text(json.dumps(json.loads(path.read_text()) | large))
    (warning,) = [
        told
        for told in preflight.warnings(compose([f"renderer.model={tmp_path / 'flux'}", "device=cpu"]))
        if "billion" in told
    ]
    assert re.search(
        r"11.8 billion parameters, and the device is the CPU: 400 pictures would take about \d+ hours", warning
    )
