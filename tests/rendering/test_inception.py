"""Inception's features: those of torch-fidelity with the same weights, and sentences for files that hold none."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import inception
from vegas_fl.rendering.folder import Picture
from vegas_fl.rendering.jobs import Job
from vegas_fl.rendering.judge import judge_job, reference_features


def test_a_file_without_its_weights_is_a_sentence(tmp_path: Path) -> None:
    for name, value in {"text": None, "list": [1], "tensor": torch.ones(2), "other": {"a": torch.ones(2)}}.items():
        path = tmp_path / f"{name}.pth"
        path.write_text("no") if value is None else torch.save(value, path)
        with pytest.raises(
            VegasError, match=r"evaluation.inception=.* these are not its weights; expected pt_inception"
        ):
            inception.load(str(path))
    with pytest.raises(VegasError, match=r"nowhere.* is missing"):
        inception.load(str(tmp_path / "nowhere"))


@pytest.mark.slow
def test_features_are_those_of_torch_fidelity(tmp_path: Path) -> None:
    state = inception.Inception().state_dict()
    for number, (name, tensor) in enumerate(state.items()):
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * (1.1 + number) + number).view(tensor.shape)
        if tensor.ndim == 4:
            state[name] = (wave * 2 / tensor[0].numel() ** 0.5).float()
        elif tensor.ndim == 1:
            state[name] = (0.1 * wave + (0.0 if name.endswith(("bias", "mean")) else 1.0)).float()
    torch.save({**state, "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}, tmp_path / "weights.pth")
    paths = []
    for side in (64, 350):
        x = torch.arange(side * 40 * 3).view(side, 40, 3) * 37 % 256
        paths.append(tmp_path / f"{side}.png")
        Image.fromarray(x.to(torch.uint8).numpy()).save(paths[-1])
    found = inception.features(str(tmp_path / "weights.pth"), "cpu", paths)
    assert found.shape == (2, 2048)
    # Printed by torch-fidelity 0.4.0's FeatureExtractorInceptionV3 with these weights and pictures.
    expected = torch.tensor([[0.093795, 0, 0.103338, 0, 0.028803], [0.09374, 0, 0.103278, 0, 0.029059]])
    torch.testing.assert_close(found[:, ::500], expected, rtol=1e-3, atol=1e-5)
    weights = [f"evaluation.inception={tmp_path / 'weights.pth'}", f"evaluation.reference={tmp_path}"]
    config = compose(weights)
    assert torch.equal(
        reference_features(config), inception.features(config.evaluation.inception, "cpu", sorted(paths))
    )
    picture = Picture(config.classes[0], 1, 0)
    paths[0].rename(tmp_path / picture.name)
    job = Job("0", tmp_path, [picture], lambda part: None, {}, {})  # type: ignore[arg-type, return-value]
    judged, seen, notes = judge_job(job, config, "cpu")
    assert judged and not notes and torch.equal(seen, found[:1])
