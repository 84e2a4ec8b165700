"""Generators of the replaced system: read safely, rebuilt where shapes tell how, refused with what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.command import vegas
from vegas_fl.core.errors import VegasError
from vegas_fl.migration.checkpoints import read
from vegas_fl.storage.generators import load_class_generator
from vegas_fl.storage.names import find_generators

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


def test_its_mean_is_that_of_what_it_draws(tmp_path: Path) -> None:
    """Nodes compare embeddings with the mean of each class."""
    old = OldVAE()
    with torch.no_grad():
        old.decoder[-1].bias += 3.0
    vegas(tmp_path, "import-checkpoint", saved(tmp_path, old.state_dict()), *SET)
    mean = load_class_generator(find_generators(tmp_path / "out")["dog"]).mean()
    drawn = old.decoder(torch.randn(2000, 8, generator=torch.Generator().manual_seed(5))).detach()
    torch.testing.assert_close(mean, drawn.unflatten(1, (2, WIDTH)).mean((0, 1)), atol=0.05, rtol=0)


def trained(old: OldVAE) -> dict[str, object]:
    """What a training leaves: weights, the optimiser's state, and words about both."""
    optimizer = torch.optim.AdamW(old.parameters())
    old.decoder(torch.randn(2, 8)).sum().backward()
    optimizer.step()
    about = {"timestamp": "2025-01-01", "selected_classes": ["dog"], "round": 3, "loss": [0.5, 0.25]}
    return {"generator_state_dict": old.state_dict(), "optimizer_state_dict": optimizer.state_dict(), "metadata": about}


def test_nodes_that_trained_one_class_are_its_owners(tmp_path: Path) -> None:
    files = [saved(tmp_path, trained(OldVAE()), f"vae_generator_node{n}_class_dog_round_3.pt") for n in (0, 4)]
    done = vegas(tmp_path, "import-checkpoint", *files, *SET)
    assert "of nodes 0, 4" in done.stdout
    assert list(load_class_generator(find_generators(tmp_path / "out")["dog"]).samplers) == ["0", "4"]
    twice = vegas(tmp_path, "import-checkpoint", files[0], files[0], *SET, code=1)
    assert "both have class dog and node 0" in twice.stderr
    other = saved(tmp_path, OldVAE(1).state_dict(), "vae_generator_node1_class_dog.pt")
    differ = vegas(tmp_path, "import-checkpoint", files[0], other, *SET, code=1)
    assert "but their layers differ" in differ.stderr


@pytest.mark.slow
def test_an_imported_generator_is_distilled_and_drawn_from(tmp_path: Path, embedding_cache: Path) -> None:
    files = [saved(tmp_path, OldVAE(8).state_dict(), f"vae_perclass_round_1_{c}.pth") for c in ("dog", "chainsaw")]
    vegas(tmp_path, "import-checkpoint", *files, *SET)
    small = ["data.clips_per_class=5", "samples_per_node=2", "adapter.local_epochs=1", "aggregation.epochs=1"]
    small += [f"nodes.{node}.samples_per_node=2" for node in "01"]
    use = ["stages=[adapters,images]", "generator.checkpoint_dir=out", f"paths.cache={embedding_cache}"]
    vegas(tmp_path, *use, *small, "evaluation.split=none")
    assert len(list((tmp_path / "output_images" / "demo").rglob("node_*/*_000?.png"))) == 4
    done = vegas(tmp_path, *use, *small, "encoder.tokens=4", "run=other", code=1)
    assert "out/mlp_perclass_round_1_" in done.stdout + done.stderr
    assert not (tmp_path / "checkpoints/adapters/other").exists()  # refused before any training


def test_a_file_of_several_classes(tmp_path: Path) -> None:
    states = {"generators": {label: OldVAE(1).state_dict() for label in ("dog", "chainsaw")}}
    vegas(tmp_path, "import-checkpoint", saved(tmp_path, states, "all.pt"), *SET)
    assert list(find_generators(tmp_path / "out")) == ["chainsaw", "dog"]


class Conditioned(OldVAE):
    """Its decoder is fed a picture's embedding beside the latent vector."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder[0] = nn.Linear(8 + 768, 16)


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
        ({"model.0.weight": torch.ones(4, 2)}, "x_round_1_dog.pth", "a GAN's generator or an adapter"),
        (Conditioned().state_dict(), "x_round_1_dog.pth", "takes 776 values, its latent vector has 8"),
        (WithNorm().state_dict(), "x_round_1_dog.pth", "batch norms"),
        (Convolutional().state_dict(), "x_round_1_dog.pth", "is not an MLP: decoder.5.weight [1, 1, 3]"),
        ({"decoder.0.weight": torch.ones(2, 2)}, "x_round_1_dog.pth", "lacks decoder.0.bias"),
        (
            {
                f"decoder.{i}.{k}": torch.ones(3, 2) if k == "weight" else torch.ones(3)
                for i in (0, 1)
                for k in ("weight", "bias")
            },
            "x_round_1_dog.pth",
            "decoder.1 takes 2 values, the layer before returns 3",
        ),
        (
            {"decoder.0.weight": torch.ones(7, 2), "decoder.0.bias": torch.ones(7)},
            "x_round_1_dog.pth",
            "not a multiple of",
        ),
        (OldVAE().state_dict(), "final.pth", "add --label"),
        ({"../../dog": OldVAE().state_dict()}, "all.pth", "'../../dog' cannot be part of a file name"),
        ({"decoder.0.weight": torch.eye(2), "decoder.0.bias": torch.full((2,), torch.nan)}, "x_round_1_dog.pth", "NaN"),
        (
            {"decoder.0.weight": torch.eye(2).to_sparse()},
            "x_round_1_dog.pth",
            "torch.sparse_coo; expected a dense tensor of floats",
        ),
        ({"decoder.0.weight": torch.eye(2).int()}, "x_round_1_dog.pth", "decoder.0.weight is torch.int32"),
    ],
)
def test_what_cannot_be_rebuilt_is_told(tmp_path: Path, content: object, name: str, seen: str) -> None:
    done = vegas(tmp_path, "import-checkpoint", saved(tmp_path, content, name), *SET, code=1)
    assert seen in done.stderr
    assert "run while it was read" not in done.stdout
    assert not (tmp_path / "out").exists()


def test_what_weights_do_not_tell_is_asked_for(tmp_path: Path) -> None:
    done = vegas(tmp_path, "import-checkpoint", saved(tmp_path, OldVAE().state_dict()), *SET[:4], code=1)
    assert "cannot be inferred from its weights" in done.stderr


@pytest.mark.parametrize("content", [b"", b"hello world", b"PK not a file"])
def test_a_file_of_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "half.pth").write_bytes(content)
    with pytest.raises(VegasError, match=r"half\.pth (cannot be read .*expected a complete|holds more than weights)"):
        read(tmp_path / "half.pth")


def test_a_value_that_changed_on_the_way(tmp_path: Path) -> None:
    path = tmp_path / saved(tmp_path, OldVAE().state_dict())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(VegasError, match=r"is damaged \(wrong checksum of .*/data/\d+\)"):
        read(path)
