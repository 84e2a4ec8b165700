"""An import written as a Hydra experiment, and composed as a check."""

import re
import tempfile
from importlib import resources
from pathlib import Path

import yaml

from vegas_fl.config import Config, compose
from vegas_fl.migration.settings import Import


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
