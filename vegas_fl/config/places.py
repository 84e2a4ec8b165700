"""Paths in a configuration."""

from pathlib import Path

from vegas_fl.config import Config, parse


def anchored(config: Config) -> Config:
    """``config`` with all paths absolute: Flower's processes have other working directories."""
    values = config.model_dump(mode="json")
    places = [
        (values, "images_output_dir"),
        (values["evaluation"], "reference"),
        (values["data"], "root"),
        (values["generator"], "checkpoint_dir"),
        (values["adapter"], "checkpoint_dir"),
        (values["adapter"], "local_checkpoint_dir"),
        *((values["paths"], key) for key in values["paths"]),
        *((node["dataset"], "root") for node in values["nodes"].values() if node["dataset"]),
    ]
    places += [
        (section, "model") for section in (values["renderer"], values["encoder"]) if _is_folder(section["model"])
    ]
    for section, key in places:
        if section.get(key) is not None:
            section[key] = str(Path(section[key]).expanduser().absolute())
    return parse(values)


def _is_folder(model: str) -> bool:
    return model != "pack" and Path(model).expanduser().is_dir()
