"""The folders of the tiny pack, the models that ship with the project, and what a model says of itself."""

import importlib
from pathlib import Path

from pydantic import TypeAdapter

from vegas_fl.core.errors import VegasError


def trained_classes(folder: Path) -> list[str]:
    """The only classes that the model in ``folder`` knows, if it says so in ``classes.json``, as the pack's renderer
    does; empty for a model without this file.

    Raises
    ------
    VegasError
        The file is damaged.
    """
    path = folder / "classes.json"
    try:
        return TypeAdapter(list[str]).validate_json(path.read_bytes()) if path.is_file() else []
    except (OSError, ValueError) as error:
        raise VegasError(f"{path} cannot be read: expected a JSON list of class names; copy the model again") from error


def model_folder(name: str) -> Path:
    """Folder of one of the pack's models: "yamnet", "flux" or "clip".

    Raises
    ------
    VegasError
        The pack is not installed, or lacks this model. (Flower sends only code to a node, not the pack.)
    """
    try:
        folder: Path = importlib.import_module("vegas_tiny").path(name)
    except ModuleNotFoundError as error:
        raise VegasError(
            f"the tiny pack (package vegas_tiny) is not installed here, so its model {name} is missing; install the "
            "project on this machine (pip install .), or name another model instead of 'pack'"
        ) from error
    except FileNotFoundError as error:
        raise VegasError(str(error)) from error
    return folder
