"""Generators of the replaced system: read safely, rebuilt where shapes tell how, refused with what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.command import vegas
from vegas_fl.checkpoints import find_generators, load_class_generator

WIDTH = 1024
SET = ["--set", "encoder=yamnet", "--output", "out", "--activation", "relu"]


class OldVAE(nn.Module):
    """A flattened MLP-VAE, as such code bases have it."""

    def __init__(self, tokens: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(tokens * WIDTH, 32), nn.ReLU())
        self.fc_mu, self.fc_logvar = nn.Linear(32, 8), nn.Linear(32, 8)
        self.decoder = nn.Sequential(
            nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, tokens * WIDTH)
        )


class WithNorm(OldVAE):
    def __init__(self) -> None:
        super().__init__()
        self.decoder.insert(1, nn.BatchNorm1d(16))


class Convolutional(OldVAE):
    def __init__(self) -> None:
        super().__init__()
        self.decoder.append(nn.Conv1d(1, 1, 3))


def saved(folder: Path, content: object, name: str = "vae_perclass_round_10_dog.pth") -> str:
    torch.save(content, folder / name)
    return name


def test_an_mlp_draws_what_it_drew(tmp_path: Path) -> None:
    torch.manual_seed(1)
    old = OldVAE()
    done = vegas(tmp_path, "import-checkpoint", saved(tmp_path, {"epoch": 3, "state_dict": old.state_dict()}), *SET)
    assert "dog, 8 → 16 → 32 → 2048, 2 tokens of 1024 (yamnet)" in done.stdout
    found = find_generators(tmp_path / "out")
    assert list(found) == ["dog"]
    drawn = load_class_generator(found["dog"]).sample(3, generator=torch.Generator().manual_seed(5))
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(drawn, old.decoder(z).detach().unflatten(1, (2, WIDTH)))


def test_a_file_of_several_classes(tmp_path: Path) -> None:
    states = {"generators": {label: OldVAE(1).state_dict() for label in ("dog", "chainsaw")}}
    vegas(tmp_path, "import-checkpoint", saved(tmp_path, states, "all.pt"), *SET)
    assert list(find_generators(tmp_path / "out")) == ["chainsaw", "dog"]


class Harmful:
    """What a pickle may carry."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("run while it was read",))


@pytest.mark.parametrize(
    ("content", "name", "seen"),
    [
        (Harmful(), "x_round_1_dog.pth", "holds more than weights"),
        ({"epoch": 3}, "x_round_1_dog.pth", "holds no weights"),
        ({"encoder.0.weight": torch.ones(2, 2)}, "x_round_1_dog.pth", "has no decoder"),
        (WithNorm().state_dict(), "x_round_1_dog.pth", "batch norms"),
        (Convolutional().state_dict(), "x_round_1_dog.pth", "is no MLP: decoder.5.weight [1, 1, 3]"),
        ({"decoder.0.weight": torch.ones(2, 2)}, "x_round_1_dog.pth", "lacks decoder.0.bias"),
        (
            {
                f"decoder.{i}.{k}": torch.ones(3, 2) if k == "weight" else torch.ones(3)
                for i in (0, 1)
                for k in ("weight", "bias")
            },
            "x_round_1_dog.pth",
            "decoder.1 takes 2 values, the layer before gives 3",
        ),
        (
            {"decoder.0.weight": torch.ones(7, 2), "decoder.0.bias": torch.ones(7)},
            "x_round_1_dog.pth",
            "no multiple of",
        ),
        (OldVAE().state_dict(), "final.pth", "add --label"),
    ],
)
def test_what_cannot_be_rebuilt_is_told(tmp_path: Path, content: object, name: str, seen: str) -> None:
    done = vegas(tmp_path, "import-checkpoint", saved(tmp_path, content, name), *SET, code=1)
    assert seen in done.stderr
    assert "run while it was read" not in done.stdout
    assert not (tmp_path / "out").exists()


def test_what_weights_do_not_tell_is_asked_for(tmp_path: Path) -> None:
    done = vegas(tmp_path, "import-checkpoint", saved(tmp_path, OldVAE().state_dict()), *SET[:4], code=1)
    assert "cannot be told from its weights" in done.stderr
    (tmp_path / "half.pth").write_bytes(b"PK not a file")
    done = vegas(tmp_path, "import-checkpoint", "half.pth", *SET, code=1)
    assert "half.pth" in done.stderr
