"""Problems are reported with the keys where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.runs import preflight

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
    mistakes = preflight.check_recordings(config)
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
