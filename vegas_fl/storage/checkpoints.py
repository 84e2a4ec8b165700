"""Generators and adapters on disk.

| file | holds |
|---|---|
| ``vae_perclass_round_<r>_<class>.safetensors`` | what the owners of a class share: decoder and prior of each |
| ``node_<i>/vae_perclass_round_<r>_<class>.safetensors`` | the whole generator, on the node that trained it |
| ``gmm_perclass_round_<r>_<class>.safetensors`` | the same for ``generator=gmm`` |
| ``<run>_round_<r>_{clip,t5}.safetensors`` | a branch of the global adapter |
| ``<run>_node_<i>_round_<r>_{clip,t5}.safetensors`` | a branch of a node's own adapter |

A header says how to build the network, and which spaces it maps between (fingerprints of the audio
encoder and of the text encoders), so that a file is loaded by what it is, not by what the run's
configuration happens to be.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, TypeAdapter, ValidationError

from vegas_fl.algorithm.adapter import Adapter, AdapterShape
from vegas_fl.algorithm.generators import Sampler, build_sampler
from vegas_fl.config import BRANCHES, AdapterConfig, Config, GeneratorConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.tensorfiles import Damaged, State, load_into

log = logging.getLogger("vegas_fl.storage.checkpoints")

GENERATOR_FILES = "*_perclass_round_*.safetensors"
"""Pattern of the files of a class's generator, of whatever kind."""

T = TypeVar("T")


@dataclass(frozen=True)
class Spaces:
    """What an adapter maps between: shapes and fingerprints of the audio embeddings and the text targets.

    Two checkpoints work together only if their spaces are equal.
    """

    audio_tokens: int
    audio_width: int
    clip_width: int
    t5_tokens: int
    t5_width: int
    audio: str
    text: str

    @property
    def shape(self) -> AdapterShape:
        """The shapes alone."""
        return AdapterShape(self.audio_tokens, self.audio_width, self.clip_width, self.t5_tokens, self.t5_width)


@dataclass(frozen=True)
class ClassGenerator:
    """What the owners of a class share: a sampler each, and the number of clips it learnt from."""

    label: str
    samplers: dict[str, Sampler]
    samples: dict[str, int]
    header: dict[str, Any]

    def of(self, node: str) -> Sampler:
        """The sampler ``node`` trained; for a node that owns none, that of the owner with the most clips."""
        owner = node if node in self.samplers else max(self.samples, key=lambda n: (self.samples[n], n))
        return self.samplers[owner]

    def mean(self) -> torch.Tensor:
        """Mean embedding ``[D]`` of the class's training clips, over all owners."""
        total = sum(self.samples.values())
        return torch.stack([self.samples[node] / total * sampler.mean for node, sampler in self.samplers.items()]).sum(
            0
        )

    def sample(self, count: int, *, generator: torch.Generator) -> torch.Tensor:
        """``[count, S, D]``, drawn from the owners in proportion to their clips."""
        total, drawn, parts = sum(self.samples.values()), 0, []
        done = 0
        for node, sampler in self.samplers.items():
            done += self.samples[node]
            share = round(count * done / total) - drawn
            drawn += share
            if share:
                parts.append(sampler.sample(share, generator=generator))
        return torch.cat(parts)

    def sample_one(self, *, generator: torch.Generator) -> torch.Tensor:
        """``[1, S, D]``, of an owner drawn in proportion to the owners' clips."""
        shares = torch.tensor([float(self.samples[node]) for node in self.samplers])
        owner = list(self.samplers)[int(torch.multinomial(shares, 1, generator=generator))]
        return self.samplers[owner].sample(1, generator=generator)


def sampler_header(spaces: Spaces, config: GeneratorConfig) -> dict[str, Any]:
    """Header entries that rebuild a sampler."""
    return {
        "audio_tokens": spaces.audio_tokens,
        "audio_width": spaces.audio_width,
        "audio": spaces.audio,
        "config": _without_places(config),
    }


def adapter_header(spaces: Spaces, config: AdapterConfig) -> dict[str, Any]:
    """Header entries that rebuild an adapter."""
    return {"spaces": asdict(spaces), "config": _without_places(config)}


PLACES = {"checkpoint_dir": "", "local_checkpoint_dir": None}
"""Settings that say where files are on one machine, and what stands for them in a header: the same training gives the
same file, and a node's folders are not told to others."""


def _without_places(config: BaseModel) -> dict[str, Any]:
    return {key: PLACES.get(key, value) for key, value in config.model_dump(mode="json").items()}


def sampler_from(header: Mapping[str, Any], state: State, origin: str) -> Sampler:
    """The sampler a header and a state describe; ``origin`` names them in errors."""
    config: GeneratorConfig = _settings(TypeAdapter(GeneratorConfig), header, origin)
    sampler = build_sampler(header["audio_tokens"], header["audio_width"], config)
    load_into(sampler, state, origin)
    return sampler.eval()


def class_generator_from(header: Mapping[str, Any], states: Mapping[str, State], origin: str) -> ClassGenerator:
    """The generator of a class that a header and the states of its owners' samplers describe."""
    samplers = {node: sampler_from(header, state, origin) for node, state in states.items()}
    return ClassGenerator(header["class"], samplers, header["samples"], dict(header))


def adapter_from(header: Mapping[str, Any], state: State, origin: str) -> Adapter:
    """The adapter a header and a state describe; ``origin`` names them in errors."""
    config = _settings(TypeAdapter(AdapterConfig), header, origin)
    adapter = Adapter(Spaces(**header["spaces"]).shape, config)
    load_into(adapter, state, origin)
    return adapter.eval()


def _settings(kind: TypeAdapter[T], header: Mapping[str, Any], origin: str) -> T:
    """The configuration in a header."""
    try:
        return kind.validate_json(json.dumps(header["config"]))
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, e["loc"])) for e in error.errors())
        raise VegasError(
            f"{origin} was written by another version of vegas-fl (settings: {keys}); train it again"
        ) from error


def save_class_generator(
    folder: Path,
    round_: int,
    label: str,
    states: Mapping[str, State],
    samples: Mapping[str, int],
    header: dict[str, Any],
) -> Path:
    """Write what the owners of ``label`` share: ``states`` and ``samples`` by node."""
    path = generator_path(folder, header["config"]["name"], round_, label)
    tensors = {f"node_{node}.{name}": tensor for node, state in states.items() for name, tensor in state.items()}
    tensorfiles.save(
        path,
        tensors,
        {**header, "kind": "generator", "class": label, "round": round_, "samples": dict(samples)},
    )
    return path


def load_class_generator(path: Path, audio: str | None = None) -> ClassGenerator:
    """Read a class's generator.

    Parameters
    ----------
    path : Path
    audio : str, optional
        Fingerprint of the audio embeddings it must have been trained on.

    Raises
    ------
    VegasError
        The file is damaged or does not fit.
    """
    tensors, header = tensorfiles.load(path, kind="generator", audio=audio)
    states: dict[str, State] = {node: {} for node in sorted(header["samples"], key=int)}
    for name, tensor in tensors.items():
        node, _, name = name.removeprefix("node_").partition(".")
        states[node][name] = tensor
    return class_generator_from(header, states, str(path))


def save_adapter(
    folder: Path, run: str, round_: int, state: State, header: dict[str, Any], node: str | None = None
) -> dict[Path, str]:
    """Write an adapter's state as one file a branch; return their hashes. A node's own may be lost with the power: a
    hundred of them are not waited for one by one, and a damaged one is found by its hash."""
    written: dict[Path, str] = {}
    for branch in BRANCHES:
        part = {name: tensor for name, tensor in state.items() if name.startswith(f"{branch}.")}
        path = adapter_path(folder, run, round_, branch, node)
        written[path] = tensorfiles.save(
            path,
            {name.removeprefix(f"{branch}."): tensor for name, tensor in part.items()},
            {**header, "kind": f"adapter.{branch}", "run": run, "round": round_, "node": node},
            durable=node is None,
        )
    return written


@dataclass(frozen=True)
class SavedAdapter:
    """An adapter on disk: its two files' content hashes, header and state."""

    header: dict[str, Any]
    state: State
    sha256: dict[str, str]

    def build(self) -> Adapter:
        """The network."""
        return adapter_from(self.header, self.state, f"the adapter of round {self.header['round']}")


def load_adapter(paths: Mapping[str, Path], spaces: Spaces | None = None) -> SavedAdapter:
    """Read an adapter from its two files.

    Parameters
    ----------
    paths : mapping
        Branch → path, as :func:`find_adapters` gives them.
    spaces : Spaces, optional
        The spaces it must map between.

    Raises
    ------
    VegasError
        A file is damaged or does not fit.
    """
    state: State = {}
    hashes = {}
    for branch in BRANCHES:
        tensors, header = tensorfiles.load(paths[branch], kind=f"adapter.{branch}")
        if spaces is not None and header["spaces"] != asdict(spaces):
            ours = asdict(spaces)
            differs = [
                f"{key} {theirs!r} (this run: {ours[key]!r})"
                for key, theirs in header["spaces"].items()
                if theirs != ours[key]
            ]
            raise VegasError(
                f"{paths[branch]} does not fit this run: it was trained for {', '.join(differs)}; "
                "use the encoder and renderer it was trained with, or train it again"
            )
        state |= {f"{branch}.{name}": tensor for name, tensor in tensors.items()}
        hashes[branch] = header["sha256"]
    return SavedAdapter(header, state, hashes)


def load_newest(rounds: Mapping[int, Mapping[str, Path]]) -> tuple[Mapping[str, Path], SavedAdapter]:
    """The files and the content of the adapter of the highest round, or of the highest that is not damaged.

    Raises
    ------
    VegasError
        All are damaged, or the one found does not fit.
    """
    *earlier, last = sorted(rounds)
    try:
        return rounds[last], load_adapter(rounds[last])
    except Damaged as error:
        if not earlier:
            raise
        log.warning("%s; the adapter of round %d is used", error, earlier[-1])
        return load_newest({round_: rounds[round_] for round_ in earlier})


def generator_path(folder: Path, kind: str, round_: int, label: str, node: str | None = None) -> Path:
    """Path of the generator of class ``label``: the shared part, or the whole of it on ``node``."""
    folder = folder if node is None else folder / f"node_{node}"
    return folder / f"{kind}_perclass_round_{round_}_{label}.safetensors"


def adapter_path(folder: Path, run: str, round_: int, branch: str, node: str | None = None) -> Path:
    """Path of a branch ("clip" or "t5") of the global adapter, or of ``node``'s own."""
    owner = run if node is None else f"{run}_node_{node}"
    return folder / f"{owner}_round_{round_}_{branch}.safetensors"


def find_generators(folder: Path) -> dict[str, Path]:
    """The shared generators in ``folder`` by class, each of its highest round."""
    found: dict[str, tuple[int, Path]] = {}
    for path in folder.glob(GENERATOR_FILES):
        if match := re.fullmatch(r"(?:vae|gmm|mlp)_perclass_round_(\d+)_(.+)\.safetensors", path.name):
            round_, label = int(match[1]), match[2]
            found[label] = max(found.get(label, (0, path)), (round_, path))
    return {label: path for label, (_, path) in sorted(found.items())}


def find_adapters(folder: Path, node: str | None = None) -> dict[int, dict[str, Path]]:
    """The adapters in ``folder`` (the global ones, or those of ``node``): round → branch → path.

    Only rounds that have both branches count; rounds ascend as numbers.
    """
    owner = r"(?P<run>.+)" if node is None else rf"(?P<run>.+)_node_{re.escape(node)}"
    found: dict[int, dict[str, Path]] = {}
    for path in sorted(folder.glob("*_round_*.safetensors")):
        match = re.fullmatch(owner + r"_round_(?P<round>\d+)_(?P<branch>clip|t5)\.safetensors", path.name)
        if match and (node is not None or not re.search(r"_node_\d+$", match["run"])):
            found.setdefault(int(match["round"]), {})[match["branch"]] = path
    return {round_: found[round_] for round_ in sorted(found) if len(found[round_]) == 2}


def adapter_rounds(config: Config, node: str | None = None) -> dict[int, dict[str, Path]]:
    """The adapters that ``node`` may draw with, or without a node the global ones, round → branch → path, the wanted
    one last: the one of ``images.round``, or all there are.

    Raises
    ------
    VegasError
        There are none, or none of the round asked for.
    """
    folder = Path(config.adapter.checkpoint_dir)
    local = node is not None and config.images.adapters == "local"
    whose = f"adapter of node {node}" if local else "global adapter"
    rounds = find_adapters(folder, node if local else None)
    if not rounds:
        raise VegasError(
            f"Checkpoint not found: no {whose} in {folder}; train adapters first (stages=[adapters]), "
            "or set adapter.checkpoint_dir"
        )
    wanted = config.images.round
    if wanted and wanted not in rounds:
        raise VegasError(
            f"images.round={wanted}: {folder} has the {whose} of round {', '.join(map(str, rounds))}; choose one"
        )
    return {wanted: rounds[wanted]} if wanted else rounds


def set_aside(folder: Path, pattern: str, keep: Collection[Path] = ()) -> list[str]:
    """Move what an earlier training left (files matching ``pattern``, but not ``keep``) to ``previous/``, so that
    rounds of two trainings never mix and nothing is lost. Returns the names moved."""
    old = sorted(path for path in folder.glob(pattern) if path.is_file() and path not in keep)
    for path in old:
        (folder / "previous").mkdir(exist_ok=True)
        shutil.move(path, folder / "previous" / path.name)
    return [path.name for path in old]
