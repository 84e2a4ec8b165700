"""Names of checkpoint files: making them, and finding the files of a folder by them.

| file | contents |
|---|---|
| ``vae_perclass_round_<r>_<class>.safetensors`` | what the owners of a class share: decoder and prior of each |
| ``node_<i>/vae_perclass_round_<r>_<class>.safetensors`` | the whole generator, on the node that trained it |
| ``gmm_perclass_round_<r>_<class>.safetensors`` | the same for ``generator=gmm``; ``mlp_…`` if imported |
| ``<run>_round_<r>_{clip,t5}.safetensors`` | one branch of the global adapter |
| ``<run>_node_<i>_round_<r>_{clip,t5}.safetensors`` | one branch of a node's own adapter |
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError
from vegas_fl.core.names import normal

GENERATOR_FILES = "*_perclass_round_*.safetensors"
"""Pattern of the generator files of all kinds and classes."""


def generator_path(folder: Path, kind: str, round_: int, label: str, node: str | None = None) -> Path:
    """Path of the generator of class ``label``: the shared part, or the whole of it on ``node``."""
    folder = folder if node is None else folder / f"node_{node}"
    return folder / f"{kind}_perclass_round_{round_}_{label}.safetensors"


def adapter_path(folder: Path, run: str, round_: int, branch: str, node: str | None = None) -> Path:
    """Path of a branch ("clip" or "t5") of the global adapter, or of ``node``'s own."""
    owner = run if node is None else f"{run}_node_{node}"
    return folder / f"{owner}_round_{round_}_{branch}.safetensors"


def find_generators(folder: Path) -> dict[str, Path]:
    """The shared generators in ``folder``: class → file of the highest round."""
    found: dict[str, tuple[int, Path]] = {}
    for path in folder.glob(GENERATOR_FILES):
        if match := re.fullmatch(r"(?:vae|gmm|mlp)_perclass_round_(\d+)_(.+)\.safetensors", path.name):
            round_, label = int(match[1]), normal(match[2])
            found[label] = max(found.get(label, (0, path)), (round_, path))
    return {label: path for label, (_, path) in sorted(found.items())}


def find_adapters(folder: Path, node: str | None = None) -> dict[int, dict[str, Path]]:
    """The adapters in ``folder``: the global ones, or those of ``node``.

    Returns
    -------
    dict
        Round → branch → file. Only rounds with both branches; ascending as numbers.
    """
    owner = r"(?P<run>.+)" if node is None else rf"(?P<run>.+)_node_{re.escape(node)}"
    found: dict[int, dict[str, Path]] = {}
    for path in sorted(folder.glob("*_round_*.safetensors")):
        match = re.fullmatch(owner + r"_round_(?P<round>\d+)_(?P<branch>clip|t5)\.safetensors", path.name)
        if match and (node is not None or not re.search(r"_node_\d+$", match["run"])):
            found.setdefault(int(match["round"]), {})[match["branch"]] = path
    return {round_: found[round_] for round_ in sorted(found) if len(found[round_]) == 2}


def adapter_rounds(config: Config, node: str | None = None) -> dict[int, dict[str, Path]]:
    """The adapters for making pictures, as :func:`find_adapters`: that of ``images.round``, or all if it is not set.

    Parameters
    ----------
    config : Config
    node : str, optional
        The node that makes the pictures; with ``images.adapters=local`` it uses its own adapters. Without a node:
        the global ones.

    Raises
    ------
    VegasError
        If no adapter is found, or none of the round asked for.
    """
    folder = Path(config.adapter.checkpoint_dir)
    local = node is not None and config.images.adapters == "local"
    kind = f"adapter of node {node}" if local else "global adapter"
    rounds = find_adapters(folder, node if local else None)
    if not rounds:
        raise VegasError(
            f"Checkpoint not found: no {kind} in {folder}; train adapters first (stages=[adapters]), "
            "or set adapter.checkpoint_dir"
        )
    round_ = config.images.round
    if round_ and round_ not in rounds:
        raise VegasError(
            f"images.round={round_} not found: {folder} has the {kind} of round {', '.join(map(str, rounds))}; "
            "choose one of these"
        )
    return {round_: rounds[round_]} if round_ else rounds


def set_aside(folder: Path, pattern: str, keep: Collection[Path] = ()) -> list[str]:
    """Move the files of an earlier training that match ``pattern``, except ``keep``, to ``previous/``, so that rounds
    of two trainings never mix and no file is lost. Returns the names of the files moved."""
    old = sorted(path for path in folder.glob(pattern) if path.is_file() and path not in keep)
    for path in old:
        (folder / "previous").mkdir(exist_ok=True)
        shutil.move(path, folder / "previous" / path.name)
    return [path.name for path in old]
