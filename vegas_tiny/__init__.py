"""The tiny pack: small trained copies of FLUX, CLIP and YAMNet, shipped as a plain data package.

`path("flux")` is the folder of a model, for its library's `from_pretrained`.
"""

from pathlib import Path

MODELS = ("yamnet", "flux", "clip")


def path(name: str) -> Path:
    """Folder of one model of the pack.

    Parameters
    ----------
    name : {"yamnet", "flux", "clip"}

    Returns
    -------
    pathlib.Path
        An existing folder inside the installed package.

    Raises
    ------
    ValueError
        If the pack has no model with this name.
    FileNotFoundError
        If the package was installed without its weights.
    """
    if name not in MODELS:
        raise ValueError(f"the tiny pack has no model {name!r}; choose one of: {', '.join(MODELS)}")
    folder = Path(__file__).resolve().parent / name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"the tiny pack's folder {name!r} not found at {folder}; "
            "run `make pack` in the project to build it, or reinstall the project with its package vegas_tiny"
        )
    return folder
