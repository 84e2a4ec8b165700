"""Adapters on disk: one file a branch, each with a header that says how to build the network."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, TypeAdapter

from vegas_fl.algorithm.adapter import Adapter
from vegas_fl.config import BRANCHES, AdapterConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.storage import tensorfiles
from vegas_fl.storage.headers import Spaces, building, config_to_header, entry
from vegas_fl.storage.names import adapter_path
from vegas_fl.storage.provenance import MadeBy, made_by
from vegas_fl.storage.tensorfiles import Damaged, State, load_into

log = logging.getLogger("vegas_fl.storage.adapters")


def adapter_header(spaces: Spaces, config: AdapterConfig) -> dict[str, Any]:
    """The header entries from which :func:`adapter_from` builds an adapter."""
    return {"spaces": asdict(spaces), "config": config_to_header(config)}


def adapter_from(header: Mapping[str, Any], state: State, origin: str) -> Adapter:
    """Build the adapter described by a header and load its state; ``origin`` names them in errors."""
    config = entry("config", TypeAdapter(AdapterConfig), header, origin)
    shape = entry("spaces", TypeAdapter(Spaces), header, origin).shape
    with building(origin):
        adapter = Adapter(shape, config)
    load_into(adapter, state, origin)
    return adapter.eval()


def save_adapter(
    folder: Path, run: str, round_: int, state: State, header: dict[str, Any], node: str | None = None
) -> dict[Path, str]:
    """Write an adapter's state as one file a branch.

    A node's own adapter is not flushed to the disk, because waiting for a hundred of them one by one takes long: a
    power failure may damage it, and its hash then says so. ``header`` is from :func:`adapter_header`; returns the hash
    of the tensors of each file.
    """
    written: dict[Path, str] = {}
    for branch in BRANCHES:
        prefix = f"{branch}."
        path = adapter_path(folder, run, round_, branch, node)
        written[path] = tensorfiles.save(
            path,
            {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)},
            {**header, "kind": f"adapter.{branch}", "run": run, "round": round_, "node": node},
            durable=node is None,
        )
    return written


@dataclass(frozen=True)
class SavedAdapter:
    """An adapter read from disk: the header of its files, its state, and by branch the hash of the tensors."""

    header: dict[str, Any]
    state: State
    sha256: dict[str, str]

    @property
    def made_by(self) -> MadeBy:
        """Which adapter it is."""
        return made_by(self.header)

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes as a recipe has them."""
        return {f"{branch}_adapter": sha256 for branch, sha256 in self.sha256.items()}

    def build(self) -> Adapter:
        """The network with its weights."""
        return adapter_from(self.header, self.state, f"the adapter of round {self.header['round']}")


def load_adapter(paths: Mapping[str, Path], spaces: Spaces | None = None) -> SavedAdapter:
    """Read an adapter from its two files, by branch, and check that it maps between ``spaces``, if given.

    Raises
    ------
    VegasError
        If a file is damaged, or maps between other spaces, or the two are of different adapters.
    """
    state: State = {}
    hashes = {}
    others: list[dict[str, Any]] = []
    for branch in BRANCHES:
        tensors, header = tensorfiles.load(paths[branch], kind=f"adapter.{branch}")
        entry("round", TypeAdapter(NonNegativeInt), header, str(paths[branch]))
        entry("samples", TypeAdapter(dict[str, NonNegativeInt]), {"samples": {}, **header}, str(paths[branch]))
        theirs = entry("spaces", TypeAdapter(Spaces), header, str(paths[branch]))
        if spaces is not None and theirs != spaces:
            expected = asdict(spaces)
            differences = [
                f"{key} {value!r} (this run: {expected[key]!r})"
                for key, value in asdict(theirs).items()
                if value != expected[key]
            ]
            raise VegasError(
                f"{paths[branch]} does not fit this run: it was trained for {', '.join(differences)}; "
                "use the encoder and renderer it was trained with, or train it again"
            )
        others.append({key: header.get(key) for key in ("run", "round", "node")})
        if others[0] != others[-1]:
            raise VegasError(
                f"{paths[branch]} does not belong to {paths[BRANCHES[0]]}: it is of {others[-1]}, the other of "
                f"{others[0]}; give both the names they were written with"
            )
        state |= {f"{branch}.{name}": tensor for name, tensor in tensors.items()}
        hashes[branch] = header["sha256"]
    return SavedAdapter(header, state, hashes)


def load_newest(rounds: Mapping[int, Mapping[str, Path]]) -> tuple[Mapping[str, Path], SavedAdapter]:
    """Read the adapter of the highest round that is not damaged; return its files and its contents.

    Raises
    ------
    VegasError
        If all are damaged.
    """
    *earlier, last = sorted(rounds)
    try:
        return rounds[last], load_adapter(rounds[last])
    except Damaged as error:
        if not earlier:
            raise
        log.warning("%s; using the adapter of round %d instead", error, earlier[-1])
        return load_newest({round_: rounds[round_] for round_ in earlier})
