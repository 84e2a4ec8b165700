"""Which files the server can make a node read and write.

A SuperNode that was started with any of the keys of :class:`Roots` in its ``--node-config`` is confined: whatever paths
the server sends, it reads recordings only below ``data-root``, opens only its own ``models`` and the pack, and writes
only below ``output-dir`` (``generators-dir`` and ``cache-dir`` where they are given). Each run name, and each name of a
series of generators, gets a folder of its own there.

A node without these keys (in process, in a simulation, or on the server's own machine) uses the server's paths.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError

REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
"""A branch, tag or commit on the hub, which becomes part of paths in its cache: neither absolute nor with ".."."""
KEYS = ("data-root", "output-dir", "generators-dir", "cache-dir", "models")


@dataclass(frozen=True)
class Roots:
    """The folders and models of one node's own settings.

    Attributes
    ----------
    node : str
    data : Path or None
        Folder of its recordings, in the layout of the run's data set; None: only synthetic ones.
    output : Path or None
        Folder of everything it writes; None: it writes nothing.
    generators, cache : Path or None
        Where generators and cache are, if not in ``output``.
    models : dict
        Name a server may send (a hub id or a folder) → where the model is here: a folder, or the name itself.
    """

    node: str
    data: Path | None = None
    output: Path | None = None
    generators: Path | None = None
    cache: Path | None = None
    models: Mapping[str, str] | None = None

    @classmethod
    def of(cls, node: str, settings: Mapping[str, Any]) -> Roots | None:
        """The roots in a ``--node-config``; None if it has none."""
        if not any(key in settings for key in (*KEYS, "allow")):
            return None
        data, output, generators, cache = (
            Path(str(settings[key])).expanduser().absolute() if settings.get(key) else None for key in KEYS[:4]
        )
        listed = [entry.strip() for entry in str(settings.get("models", "")).split(",") if entry.strip()]
        pairs = (entry.partition("=") for entry in listed)
        return cls(node, data, output, generators, cache, {name: place or name for name, _, place in pairs})

    def confine(self, config: Config) -> Config:
        """``config`` with this node's folders and models instead of the server's.

        Raises
        ------
        VegasError
            The server names a model this node does not allow, or the node has no ``output-dir``.
        """
        if self.output is None:
            raise VegasError(
                f"node {self.node} writes only to its own folders, but has no output-dir; start it with one"
            )
        generators = self.generators or self.output / "checkpoints" / "generators"
        if self.data is not None:
            config = config.with_root(self.node, str(self.data))
        paths = {"checkpoints": self.output / "checkpoints", "runs": self.output / "runs", "cache": self._cache}
        sections: dict[str, dict[str, Any]] = {
            "generator": {"checkpoint_dir": str(generators / config.series)},
            "paths": {key: str(path) for key, path in paths.items()},
            "encoder": {"model": self._model("encoder.model", config.encoder.model)},
            "renderer": {"model": self._model("renderer.model", config.renderer.model)},
        }
        if config.renderer.judge:
            sections["renderer"]["judge"] = self._model("renderer.judge", config.renderer.judge)
        if weights := config.evaluation.inception:
            sections["evaluation"] = {"inception": self._model("evaluation.inception", weights)}
        for section in ("encoder", "renderer"):
            for key in ("revision", "judge_revision"):
                revision = getattr(getattr(config, section), key, None)
                if revision and not REVISION.fullmatch(revision):
                    raise VegasError(f"node {self.node}: {section}.{key}={revision} from the server is not a revision")
        changed = {name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
        return config.model_copy(
            update={**changed, "images_output_dir": str(self.output / "output_images" / config.run)}
        )

    def check_data_root(self, config: Config) -> None:
        """Raise :class:`VegasError` unless the node's data set is its own."""
        data = config.data_of(self.node)
        if data.name != "toy" and self.data is None:
            raise VegasError(
                f"node {self.node} has no data-root and therefore reads no recordings (the server asked for "
                f"data={data.name}, data.root={data.root}); start it with a data-root"
            )

    def check_links(self, config: Config) -> None:
        """Raise :class:`VegasError` if a link leads out of the node's data set."""
        if self.data is not None and config.data_of(self.node).name != "toy":
            _refuse_links(self.data, self.node, "data-root")

    def check_writable(self, folder: Path) -> None:
        """Raise :class:`VegasError` if something in ``folder``, or it itself, leads out of the node's folders."""
        assert self.output is not None
        root = next((r for r in (self.generators, self.cache) if r and folder.is_relative_to(r)), self.output)
        if not folder.resolve().is_relative_to(root.resolve()):
            raise VegasError(f"node {self.node}: {folder} leads out of {root}; a node writes only to its own folders")
        _refuse_links(folder, self.node, str(root))

    def without_places(self, value: Any) -> Any:
        """A JSON value with the keys of the node's folders ("output-dir") instead of their paths, and without its host
        name."""
        if isinstance(value, dict):
            return {key: self.without_places(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.without_places(inner) for inner in value]
        if not isinstance(value, str):
            return value
        folders = dict(zip(KEYS, (self.data, self.output, self.generators, self.cache), strict=False))
        folders |= {name: Path(place) for name, place in (self.models or {}).items() if Path(place).is_absolute()}
        folders |= {"environment": Path(sys.prefix), "code": Path(__file__).parents[1], "home": Path.home()}
        known = {key: root for key, root in folders.items() if root and root.name}  # not "/"
        places = {str(place): key for key, root in known.items() for place in (root, root.resolve())}
        for place in sorted(places, key=len, reverse=True):
            value = value.replace(place, places[place])
        # Only in sentences: fingerprints and ids stay as they are.
        return re.sub(rf"\b{re.escape(socket.gethostname())}\b", "host", value) if " " in value else value

    @property
    def _cache(self) -> Path:
        assert self.output is not None
        return self.cache or self.output / "cache"

    def _model(self, key: str, name: str) -> str:
        """Where a model that the server names is on this node."""
        models = self.models or {}
        if name == "pack" or name in models:
            return models.get(name, name)
        allowed = ", ".join(["pack", *models])
        raise VegasError(
            f"node {self.node} does not open {key}={name}, which the server asked for; it allows {allowed}: add the "
            "model to the node's models, or choose one of these"
        )


def _refuse_links(folder: Path, node: str, root: str) -> None:
    """Raise :class:`VegasError` if a symbolic link below ``folder`` leads out of it."""
    real = folder.resolve()
    for place, folders, files in os.walk(real):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() and not path.resolve().is_relative_to(real):
                raise VegasError(
                    f"node {node}: {path} is a link to {path.resolve()}, outside {root}={folder}; replace the link by "
                    "its target, or remove it"
                )
