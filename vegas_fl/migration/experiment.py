"""An import written as an experiment of Hydra's, and tried at once."""

from __future__ import annotations

import re
import tempfile
from importlib import resources
from pathlib import Path

import yaml

from vegas_fl.config import Config, compose
from vegas_fl.migration.settings import Import


def text(new: Import, origin: str) -> str:
    """The experiment's YAML; what its owner should know stands in comments at its top."""
    lines = ["# @package _global_", f"# Made from {origin} by `vegas-fl import-config`."]
    for title, told in (
        ("looks wrong there", new.suspicious),
        ("not supported", new.unsupported),
        ("notes", new.notes),
    ):
        if told:
            lines += [f"# {title}:", *(f"#   {sentence}" for sentence in told)]
    lines += ["defaults:", *(f"  - override /{group}: {choice}" for group, choice in new.groups.items()), ""]
    return "\n".join(lines) + "\n" + yaml.safe_dump(new.values, sort_keys=False, default_flow_style=None, width=110)


def run_name(stem: str) -> str:
    """A run's name from a file's: a2v_vegas_2n_2c_200s_kd → vegas-2n-2c-200s-kd, as the guide's folders are named."""
    name = re.sub(r"_(train_generator|train_adapters)$", "", stem.removeprefix("a2v_"))
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.") or "imported"


def file_name(stem: str) -> str:
    """An experiment's name from a file's, such that it can be typed after ``experiment=``."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("_.-") or "imported"


def built_in(name: str) -> bool:
    """Whether the project has an experiment of this name, which would win over an imported one."""
    return (resources.files("conf") / "experiment" / f"{name}.yaml").is_file()


def tried(experiment: str) -> Config:
    """Compose an experiment as a run would.

    Raises
    ------
    ConfigError
        Listing every mistake.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "experiment").mkdir()
        (Path(folder) / "experiment" / "being_imported.yaml").write_text(experiment, "utf8")
        return compose([f"hydra.searchpath=[file://{folder}]", "experiment=being_imported"])
