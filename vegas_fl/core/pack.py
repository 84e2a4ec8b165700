"""The tiny pack, where it is installed."""

from __future__ import annotations

import importlib
from pathlib import Path

from vegas_fl.core.errors import VegasError


def model_folder(name: str) -> Path:
    """Folder of one of the pack's models: "yamnet", "flux" or "clip".

    Raises
    ------
    VegasError
        The pack is not installed, or without this model. (An app that Flower carries to a node brings code alone.)
    """
    try:
        folder: Path = importlib.import_module("vegas_tiny").path(name)
    except ModuleNotFoundError as error:
        raise VegasError(
            f"the tiny pack (package vegas_tiny), whose {name} is asked for, is not installed here; install the "
            "project on this machine (pip install .), or name another model in place of 'pack'"
        ) from error
    except FileNotFoundError as error:
        raise VegasError(str(error)) from error
    return folder
