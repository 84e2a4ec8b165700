"""Checkpoints whose headers somebody changed: a sentence that names the file, never a traceback."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from safetensors.torch import save_file

from tests.support.adapters import SHAPE, config
from tests.support.odd import changed
from vegas_fl.algorithm.adapter import Adapter
from vegas_fl.algorithm.generators import build_sampler
from vegas_fl.config import GeneratorConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.adapters import adapter_from, adapter_header, load_adapter, save_adapter
from vegas_fl.storage.generators import load_class_generator, sampler_header, save_class_generator
from vegas_fl.storage.headers import Spaces

SPACES = Spaces(**asdict(SHAPE), audio="a", text="t")


def test_headers_of_generators(tmp_path: Path) -> None:
    settings = TypeAdapter(GeneratorConfig).validate_python(
        {"name": "gmm", "checkpoint_dir": "", "components": 1, "covariance": "diag"}
    )
    state = build_sampler(SPACES.audio_tokens, SPACES.audio_width, settings).state_dict()
    path = save_class_generator(tmp_path, 1, "dog", {"0": state}, {"0": 9}, sampler_header(SPACES, settings))
    whole = tensorfiles.load(path)
    assert load_class_generator(path).samples == {"0": 9}
    refused = 0
    for header in filter(lambda value: isinstance(value, dict), changed(whole.header)):
        tensorfiles.save(path, whole.tensors, {**header, "format": 1})
        try:
            load_class_generator(path)
        except VegasError as error:
            refused += str(path) in str(error)
    assert refused > 50


def test_headers_of_adapters(tmp_path: Path) -> None:
    state = Adapter(SHAPE, config()).state_dict()
    files = save_adapter(tmp_path, "r", 1, state, adapter_header(SPACES, config()))
    paths = {path.stem.rpartition("_")[2]: path for path in files}
    whole = tensorfiles.load(paths["t5"])
    refused = 0
    for header in filter(lambda value: isinstance(value, dict), changed(whole.header)):
        tensorfiles.save(paths["t5"], whole.tensors, {**header, "format": 1})
        try:
            saved = load_adapter(paths, SPACES)
            adapter_from(saved.header, saved.state, str(paths["t5"]))
        except VegasError as error:
            refused += str(paths["t5"]) in str(error)
    assert refused > 50


@pytest.mark.parametrize("text", ["[]", "{", "3", "[" * 100_000, '{"format": 1}'])
def test_a_header_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({}, path, {"vegas_fl": text})
    with pytest.raises(VegasError, match="x.safetensors"):
        tensorfiles.load(path)
