"""The outcome of an import: an experiment of Hydra, written and composed as a check."""

import re
import tempfile
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from vegas_fl.config import Config, compose


@dataclass
class Import:
    """An experiment, and sentences about how it was made."""

    groups: dict[str, str] = field(default_factory=dict)  # choices of groups: data, aggregation, …
    values: dict[str, Any] = field(default_factory=dict)  # nested values of the experiment
    taken: list[str] = field(default_factory=list)  # sentences: what was taken over
    notes: list[str] = field(default_factory=list)  # what no longer has to be set
    unsupported: list[str] = field(default_factory=list)  # what has no counterpart
    suspicious: list[str] = field(default_factory=list)  # what looks wrong in the file

    def put(self, key: str, value: Any, because: str) -> None:
        """Set ``a.b`` to ``value`` because of the replaced system's key ``because``."""
        *path, last = key.split(".")
        place = self.values
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
        self.taken.append(f"{because} → {key}: {value}")

    @property
    def remarks(self) -> dict[str, list[str]]:
        """The sentences beside what was taken over, by title; the last ones matter most."""
        return {"notes": self.notes, "not supported": self.unsupported, "looks wrong": self.suspicious}


def once(sentences: list[str], sentence: str) -> None:
    """Add a sentence, unless it is there."""
    if sentence not in sentences:
        sentences.append(sentence)


def text(new: Import, origin: str) -> str:
    """The experiment's YAML, with the sentences of the import as comments at the top."""
    lines = ["# @package _global_", f"# Made from {origin} by `vegas-fl import-config`."]
    for title, sentences in reversed(new.remarks.items()):
        if sentences:
            lines += [f"# {title}:", *(f"#   {sentence}" for sentence in sentences)]
    lines += ["defaults:", *(f"  - override /{group}: {choice}" for group, choice in new.groups.items()), ""]
    return "\n".join(lines) + "\n" + yaml.safe_dump(new.values, sort_keys=False, default_flow_style=None, width=110)


def run_name(stem: str) -> str:
    """The name of a run, like those of the guide's folders: a2v_vegas_2n_2c_200s_kd → vegas-2n-2c-200s-kd."""
    name = re.sub(r"_(train_generator|train_adapters)$", "", stem.removeprefix("a2v_"))
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.") or "imported"


def file_name(stem: str) -> str:
    """The name of an experiment, which can be typed after ``experiment=``."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("_.-") or "imported"


def built_in(name: str) -> bool:
    """Whether vegas-fl has an experiment of this name, which would take precedence over an imported one."""
    return (resources.files("conf") / "experiment" / f"{name}.yaml").is_file()


def tried(experiment: str) -> Config:
    """Compose an experiment as a run would; :class:`ConfigError` lists every mistake."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "experiment").mkdir()
        (Path(folder) / "experiment" / "being_imported.yaml").write_text(experiment, "utf8")
        return compose([f"hydra.searchpath=[file://{folder}]", "experiment=being_imported"])
