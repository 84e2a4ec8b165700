"""Text targets that cannot be used."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import vegas_tiny
from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering.text_targets import text_targets


def test_a_text_encoder_that_overflows_is_named_and_nothing_is_cached(tmp_path: Path) -> None:
    model, cache = tmp_path / "flux", tmp_path / "cache"
    shutil.copytree(vegas_tiny.path("flux"), model)
    weights = model / "text_encoder" / "model.safetensors"
    save_file({key: value * float("nan") for key, value in load_file(weights).items()}, weights, {"format": "pt"})
    config = compose([f"renderer.model={model}"])
    with pytest.raises(VegasError, match=r"not finite for 'a photo of a dog'.*renderer.dtype"):
        text_targets(["dog"], config.renderer, cache, "cpu")
    assert not list(cache.rglob("*.safetensors"))
