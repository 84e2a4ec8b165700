"""The pictures that a node, or the server, has to draw: their names, the source of their embeddings, their recipes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from vegas_fl.algorithm.adapter import Adapter, Conditioning
from vegas_fl.algorithm.generators import Sampler
from vegas_fl.config import ConditioningConfig, Config, RendererConfig, Source
from vegas_fl.core import devices, seeds
from vegas_fl.rendering import flux
from vegas_fl.rendering.folder import Picture, PictureFolder, Recipe
from vegas_fl.storage.generators import ClassGenerator
from vegas_fl.storage.names import find_adapters, source_run
from vegas_fl.storage.provenance import MadeBy

SERVER = "server"
"""Used for the server in place of a node id."""

Feed = Callable[[Sequence[Picture]], Conditioning]
"""B pictures → the inputs of FLUX: clip ``[B, P]`` and t5 ``[B, T, C]``."""

Audio = Callable[[Picture], torch.Tensor]
"""A picture → the audio embedding ``[1, S, D]`` it is drawn from."""


@dataclass(frozen=True)
class Job:
    """The pictures of one folder.

    Attributes
    ----------
    node : str
        Node id, or "server".
    path : Path
    pictures : list of Picture
        All pictures the folder will hold.
    feed : Feed
    recipes : dict
        Class → how its pictures are made, without the renderer's entries.
    files : dict
        The paths of the checkpoints: "generators" by class and "adapter" by branch, or "embeddings".
    adapter : dict
        Which adapter draws (:func:`~vegas_fl.storage.provenance.made_by`); recorded beside the recipe, which has the
        hashes.
    frames : dict
        Hash of a recording → a picture of its video, where the data set has one.
    """

    node: str
    path: Path
    pictures: list[Picture]
    feed: Feed
    recipes: dict[str, Recipe]
    files: dict[str, Any]
    adapter: MadeBy = field(default_factory=dict)
    frames: Mapping[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As used in messages."""
        return self.node if self.node == SERVER else f"node {self.node}"

    def folder(self, renderer: RendererConfig) -> PictureFolder:
        """Its folder, for pictures drawn by ``renderer``."""
        entries = renderer_entries(renderer)
        return PictureFolder(self.path, {label: {**recipe, **entries} for label, recipe in self.recipes.items()})


def renderer_entries(renderer: RendererConfig) -> Recipe:
    """The renderer's entries of a recipe."""
    fingerprint = flux.picture_fingerprint(renderer)
    return {"renderer": renderer.model, "renderer_fingerprint": fingerprint, "steps": renderer.steps}


def job_path(config: Config, node: str, subfolder: str = "") -> Path:
    """Folder of a node's pictures, or of the server's."""
    return Path(config.images_output_dir) / subfolder / (node if node == SERVER else f"node_{node}")


def earlier_rounds(config: Config, trained: Iterable[int]) -> list[int]:
    """The rounds before the last of ``trained`` whose adapters ``images.every`` selects for pictures of their own,
    each in its :func:`round_folder`."""
    every = config.images.every
    return [r for r in sorted(trained)[:-1] if r % every == 0] if every else []


def saved_rounds(config: Config) -> Iterable[int]:
    """The rounds whose adapters are on disk: the global ones, or (``images.adapters=local``) the first node's."""
    folder = Path(config.adapter.checkpoint_dir)
    node = min(config.nodes, key=int) if config.images.adapters == "local" else None
    return find_adapters(folder, node, source_run(config, folder))


def with_round(config: Config, round_: int) -> Config:
    """The configuration for pictures of one round."""
    return config.model_copy(update={"images": config.images.model_copy(update={"round": round_})})


def round_folder(round_: int) -> str:
    """Subfolder of ``images_output_dir`` for the pictures of an earlier round."""
    return f"round_{round_}"


def recipes(config: Config, node: str, classes: Sequence[str], adapter: Mapping[str, str], **source: Any) -> dict:
    """Class → how its pictures are made.

    Parameters
    ----------
    config : Config
    node : str
    classes : sequence of str
    adapter : mapping
        Branch ("clip_adapter", "t5_adapter") → hash of its checkpoint.
    source
        Further entries; of a mapping, each class gets its own value.
    """
    return {
        label: {
            "node": node,
            "run_seed": config.seed,
            "conditioning": config.conditioning.model_dump(),
            **adapter,
            **{key: value[label] if isinstance(value, Mapping) else value for key, value in source.items()},
        }
        for label in classes
    }


@dataclass(frozen=True)
class AdapterFeed:
    """Audio embeddings through the adapter, with each branch taken from its configured source.

    Attributes
    ----------
    audio : Audio
    adapter : Adapter
    targets : mapping
        Class → text target (clip ``[P]``, t5 ``[T, C]``), if a branch is conditioned on text.
    sources : ConditioningConfig
    batch : int or "auto"
        Embeddings per pass, the last batch padded, so that the values do not depend on their number; "auto": 16,
        whatever the number of pictures drawn at once.
    """

    audio: Audio
    adapter: Adapter
    targets: Mapping[str, Conditioning]
    sources: ConditioningConfig
    batch: int | Literal["auto"]

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Picture]) -> Conditioning:
        audio = torch.cat([self.audio(picture) for picture in pictures])

        def run(size: int, device: str) -> Conditioning:
            network = self.adapter.to(device)
            parts = [network(_padded(part, size).to(device)) for part in audio.split(size)]
            return Conditioning(*(torch.cat(branch)[: len(pictures)].cpu() for branch in zip(*parts, strict=True)))

        size = 16 if self.batch == "auto" else self.batch
        drawn = devices.sparing(run, size, str(self.adapter.device), "the adapter")

        def branch(source: Source, name: str) -> torch.Tensor:
            value: torch.Tensor = getattr(drawn, name)
            if source == "text":
                return torch.stack([getattr(self.targets[p.label], name) for p in pictures])
            return value if source == "adapter" else torch.zeros_like(value)

        return Conditioning(branch(self.sources.clip, "clip"), branch(self.sources.t5, "t5"))


def _padded(rows: torch.Tensor, count: int) -> torch.Tensor:
    return rows[[min(i, len(rows) - 1) for i in range(count)]]


def sampled(samplers: Mapping[str, Sampler]) -> Audio:
    """Samples of each class's generator, determined by the picture's seed."""
    return lambda picture: samplers[picture.label].sample(1, generator=seeds.generator(picture.seed, "embedding"))


def sampled_from_owners(generators: Mapping[str, ClassGenerator]) -> Audio:
    """Samples of the generators of all owners of a class; the picture's seed determines the owner and the sample."""
    return lambda picture: generators[picture.label].sample_one(generator=seeds.generator(picture.seed, "embedding"))


def recorded(embeddings: Mapping[str, torch.Tensor]) -> Audio:
    """Embeddings ``[S, D]`` of recordings, by the hash of their content."""
    return lambda picture: embeddings[str(picture.clip)][None]
