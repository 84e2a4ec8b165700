"""The generators of one class on disk: what its owners share, in one file.

A node also keeps its whole generator, with the encoders, in a file of its own (:func:`names.generator_path`); only
the samplers are shared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor

from vegas_fl.algorithm.generators import Sampler, build_sampler
from vegas_fl.config import GeneratorConfig
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.headers import Size, Spaces, building, config_to_header, entry
from vegas_fl.storage.names import generator_path
from vegas_fl.storage.tensorfiles import State, load_into

NodeId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
SAMPLES = TypeAdapter(Annotated[dict[NodeId, Annotated[int, Field(ge=1)]], Field(min_length=1)])
"""By node, the number of clips that a generator was trained on."""


@dataclass(frozen=True)
class ClassGenerator:
    """The generator of one class: by node, the owners' samplers and the numbers of clips they were trained on."""

    samplers: dict[str, Sampler]
    samples: dict[str, int]
    header: dict[str, Any]

    def of(self, node: str) -> Sampler:
        """The sampler that ``node`` trained; for a node that does not own the class, the one with the most clips."""
        owner = node if node in self.samplers else max(self.samples, key=lambda n: (self.samples[n], n))
        return self.samplers[owner]

    def mean(self) -> Tensor:
        """Mean embedding ``[D]`` of the class's training clips, over all owners."""
        total = sum(self.samples.values())
        parts = [self.samples[node] / total * sampler.mean for node, sampler in self.samplers.items()]
        return torch.stack(parts).sum(0)

    def to(self, device: str) -> Self:
        """Itself, with the samplers on a device; samples are on the CPU."""
        for sampler in self.samplers.values():
            devices.moved(sampler, device)
        return self

    def sample(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw ``count`` embeddings ``[count, S, D]``, from the owners in proportion to their clips."""
        total, drawn, parts = sum(self.samples.values()), 0, []
        clips = 0
        for node, sampler in self.samplers.items():
            clips += self.samples[node]
            share = round(count * clips / total) - drawn
            drawn += share
            if share:
                parts.append(sampler.sample(share, generator=generator))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def sample_one(self, *, generator: torch.Generator) -> Tensor:
        """Draw one embedding ``[1, S, D]``, from a random owner, chosen in proportion to the owners' clips."""
        shares = torch.tensor([float(self.samples[node]) for node in self.samplers])
        owner = list(self.samplers)[int(torch.multinomial(shares, 1, generator=generator))]
        return self.samplers[owner].sample(1, generator=generator)


def sampler_header(spaces: Spaces, config: GeneratorConfig) -> dict[str, Any]:
    """The header entries from which :func:`sampler_from` builds a sampler."""
    return {
        "audio_tokens": spaces.audio_tokens,
        "audio_width": spaces.audio_width,
        "audio": spaces.audio,
        "config": config_to_header(config),
    }


def sampler_from(header: Mapping[str, Any], state: State, origin: str) -> Sampler:
    """Build the sampler described by a header and load its state; ``origin`` names them in errors."""
    config: GeneratorConfig = entry("config", TypeAdapter(GeneratorConfig), header, origin)
    tokens, width = (entry(key, TypeAdapter(Size), header, origin) for key in ("audio_tokens", "audio_width"))
    with building(origin):
        sampler = build_sampler(tokens, width, config)
    load_into(sampler, state, origin)
    return sampler.eval()


def class_generator_from(header: Mapping[str, Any], states: Mapping[str, State], origin: str) -> ClassGenerator:
    """Build the generator of a class from a header and the states of its owners' samplers, by node."""
    samplers = {node: sampler_from(header, state, origin) for node, state in states.items()}
    return ClassGenerator(samplers, entry("samples", SAMPLES, header, origin), dict(header))


def save_class_generator(
    folder: Path,
    round_: int,
    label: str,
    states: Mapping[str, State],
    samples: Mapping[str, int],
    header: dict[str, Any],
) -> Path:
    """Write the generator of class ``label`` to one file: by node, the states of the samplers and the numbers of clips
    they were trained on. ``header`` is from :func:`sampler_header`."""
    path = generator_path(folder, header["config"]["name"], round_, label)
    tensors = {f"node_{node}.{name}": tensor for node, state in states.items() for name, tensor in state.items()}
    entries = {**header, "kind": "generator", "class": label, "round": round_, "samples": dict(samples)}
    tensorfiles.save(path, tensors, entries)
    return path


def load_class_generator(path: Path, audio: str | None = None, label: str | None = None) -> ClassGenerator:
    """Read the generator of a class, and check the fingerprint of its ``audio`` embeddings and its class, if given.

    Raises
    ------
    VegasError
        If the file is damaged, or was trained on other embeddings or another class.
    """
    tensors, header = tensorfiles.load(path, kind="generator", audio=audio, **{"class": label})
    samples = entry("samples", SAMPLES, header, str(path))
    states: dict[str, State] = {node: {} for node in sorted(samples, key=int)}
    for name, tensor in tensors.items():
        node, _, name = name.removeprefix("node_").partition(".")
        if node not in states:
            raise VegasError(f"{path} holds tensors of node {node}, which its header does not name; train it again")
        states[node][name] = tensor
    return class_generator_from(header, states, str(path))
