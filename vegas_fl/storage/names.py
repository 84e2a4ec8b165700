"""Names of checkpoint files: making them, and finding the files of a folder.

What a file holds (run, class, branch, round) is read from its header, never from its name, which can be changed, and
can be ambiguous: ``study_node_1_round_1_clip`` is of node 1 of the run "study", or of the run "study_node_1".

| file | contents |
|---|---|
| ``vae_perclass_round_<r>_<class>.safetensors`` | what the owners of a class share: decoder and prior of each |
| ``node_<i>/vae_perclass_round_<r>_<class>.safetensors`` | the whole generator, on the node that trained it |
| ``gmm_perclass_round_<r>_<class>.safetensors`` | the same for ``generator=gmm``; ``mlp_…`` if imported |
| ``<run>_round_<r>_{clip,t5}.safetensors`` | one branch of the global adapter |
| ``<run>_node_<i>_round_<r>_{clip,t5}.safetensors`` | one branch of a node's own adapter |
"""

import functools
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from vegas_fl.config import BRANCHES, Config
from vegas_fl.core.errors import VegasError, some
from vegas_fl.core.names import normal
from vegas_fl.storage.tensorfiles import load_header

GENERATOR_FILES = "*_perclass_round_*.safetensors"
"""Pattern of the generator files of all kinds and classes."""
ADAPTER_FILES = "*_round_*.safetensors"
GENERATOR_NAME = re.compile(r"(?:vae|gmm|mlp)_perclass_round_(?P<round>\d+)_(?P<class>.+)")
ADAPTER_NAME = re.compile(r"(?P<run>.+?)(?:_node_(?P<node>\d+))?_round_(?P<round>\d+)_(?P<branch>clip|t5)")


def generator_path(folder: Path, kind: str, round_: int, label: str, node: str | None = None) -> Path:
    """Path of the generator of class ``label``: the shared part, or the whole of it on ``node``."""
    folder = folder if node is None else folder / f"node_{node}"
    return folder / f"{kind}_perclass_round_{round_}_{label}.safetensors"


def adapter_path(folder: Path, run: str, round_: int, branch: str, node: str | None = None) -> Path:
    """Path of a branch ("clip" or "t5") of the global adapter, or of ``node``'s own."""
    owner = run if node is None else f"{run}_node_{node}"
    return folder / f"{owner}_round_{round_}_{branch}.safetensors"


class AdapterFile(NamedTuple):
    """What a file holds: a branch of the adapter of a round of a run; ``node`` is None for the global one."""

    run: str
    node: str | None
    round: int
    branch: str

    def path(self, folder: Path) -> Path:
        """Where it belongs."""
        return adapter_path(folder, self.run, self.round, self.branch, self.node)


def find_generators(folder: Path) -> dict[str, Path]:
    """The shared generators in ``folder``: class → file of the highest round."""
    found: dict[str, tuple[int, bool, Path]] = {}
    for path, name, header in _checkpoints(folder, GENERATOR_FILES, GENERATOR_NAME):
        label, round_ = normal(str(header.get("class", name["class"]))), _round(header, name)
        agrees = (label, round_) == (normal(name["class"]), int(name["round"]))
        found[label] = max(found.get(label, (0, False, path)), (round_, agrees, path))
    return {label: path for label, (*_, path) in sorted(found.items())}


def adapter_files(folder: Path, run: str | None = None) -> dict[AdapterFile, Path]:
    """The adapters' files in ``folder``, of all runs or of one; of two that hold the same, the one with its name."""
    found: dict[AdapterFile, Path] = {}
    for path, file in _adapters(folder):
        if run in (None, file.run) and (file not in found or path == file.path(folder)):
            found[file] = path
    return found


def find_adapters(folder: Path, node: str | None = None, run: str | None = None) -> dict[int, dict[str, Path]]:
    """The adapters in ``folder``, the global ones or those of ``node``: round → branch → file. Only rounds with both
    branches; ascending as numbers. ``run`` trained them (:func:`source_run`); None: the only one that has any there.

    Raises
    ------
    VegasError
        No run was named, and several have adapters there.
    """
    files = {file: path for file, path in adapter_files(folder, run).items() if file.node == node}
    if len(runs := sorted({file.run for file in files})) > 1:
        raise VegasError(
            f"{folder} holds adapters of several runs ({', '.join(runs)}), expected one; move the files of the others "
            f"to folders of their own, or name the run (run={runs[0]})"
        )
    found: dict[int, dict[str, Path]] = {}
    for file, path in files.items():
        found.setdefault(file.round, {})[file.branch] = path
    return {round_: found[round_] for round_ in sorted(found) if set(found[round_]) >= set(BRANCHES)}


def source_run(config: Config, folder: Path) -> str | None:
    """The run whose adapters in ``folder`` are used: the configuration's own, else that of its series; None: the only
    one that has any there."""
    if "adapters" in config.stages and folder == Path(config.adapter.checkpoint_dir):
        return config.run
    runs = {file.run for file in adapter_files(folder)}
    return next((name for name in (config.run, config.series) if name in runs), None)


def misfiled(folder: Path) -> str:
    """Words on the files whose headers disagree with their names, to be added to a sentence; or nothing."""
    odd = [
        f"{path.name} holds the generator of {header['class']}"
        for path, name, header in _checkpoints(folder, GENERATOR_FILES, GENERATOR_NAME)
        if header.get("class", name["class"]) != name["class"]
    ]
    odd += [
        f"{path.name} holds the {file.branch} branch of round {file.round} of run {file.run}"
        for path, file in _adapters(folder)
        if path != file.path(folder)
    ]
    return f" (by their headers, {some(odd, 3)}: give these files their own names)" if odd else ""


def _adapters(folder: Path) -> Iterator[tuple[Path, AdapterFile]]:
    for path, name, header in _checkpoints(folder, ADAPTER_FILES, ADAPTER_NAME):
        node = header["node"] if "run" in header and "node" in header else name["node"]
        branch = str(header.get("kind", "")).partition("adapter.")[2] or name["branch"]
        yield path, AdapterFile(str(header.get("run", name["run"])), node, _round(header, name), branch)


def _checkpoints(
    folder: Path, pattern: str, names: re.Pattern[str]
) -> Iterator[tuple[Path, re.Match[str], dict[str, Any]]]:
    """The files that match ``pattern``, with what their names and their headers say."""
    for path in sorted(folder.glob(pattern)):
        if (name := names.fullmatch(path.stem)) and path.is_file():
            state = path.stat()
            yield path, name, _header(path, state.st_ino, state.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _header(path: Path, inode: int, changed: int) -> dict[str, Any]:
    """A file's header, read again if the file has changed; empty if it is damaged: whoever loads the file says so."""
    try:
        header = load_header(path)
        _ABOUT.validate_python(header)
    except (VegasError, ValidationError):
        return {}
    return header


def _round(header: Mapping[str, Any], name: re.Match[str]) -> int:
    return int(header.get("round", name["round"]))


class _About(TypedDict, total=False):
    round: Annotated[int, Field(ge=0)]
    run: str
    node: str | None
    kind: str


_ABOUT = TypeAdapter(_About)


def adapter_rounds(config: Config, node: str | None = None) -> dict[int, dict[str, Path]]:
    """The adapters for making pictures, as :func:`find_adapters`: that of ``images.round``, or all if it is not set.
    With ``images.adapters=local``, a ``node`` uses its own; otherwise they are the global ones.

    Raises
    ------
    VegasError
        If no adapter is found, or none of the round asked for.
    """
    folder = Path(config.adapter.checkpoint_dir)
    local = node is not None and config.images.adapters == "local"
    kind = f"adapter of node {node}" if local else "global adapter"
    rounds = find_adapters(folder, node if local else None, source_run(config, folder))
    if not rounds:
        raise VegasError(
            f"Checkpoint not found: no {kind} in {folder}{misfiled(folder)}; train adapters first (stages=[adapters]), "
            "or set adapter.checkpoint_dir"
        )
    round_ = config.images.round
    if round_ and round_ not in rounds:
        raise VegasError(
            f"images.round={round_} not found: {folder} has the {kind} of round {', '.join(map(str, rounds))}; "
            "choose one of these"
        )
    return {round_: rounds[round_]} if round_ else rounds


def set_aside(folder: Path, files: Iterable[Path], keep: Collection[Path] = ()) -> list[str]:
    """Move ``files`` of an earlier training, except ``keep``, to ``previous/`` in ``folder``, so that rounds of two
    trainings never mix and no file is lost. Returns the names of the files moved."""
    old = sorted(path for path in files if path.is_file() and path not in keep)
    for path in old:
        (folder / "previous").mkdir(exist_ok=True)
        shutil.move(path, folder / "previous" / path.name)
    return [path.name for path in old]
