"""The tiny pack: small trained copies of FLUX, CLIP and YAMNet, shipped as a plain data package.

`path("flux")` is all that code needs; the models open with their libraries' own `from_pretrained`.
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
        If the pack has no model of that name.
    FileNotFoundError
        If the package is installed without its weights.
    """
    if name not in MODELS:
        raise ValueError(f"the tiny pack has no model {name!r}; it has: {', '.join(MODELS)}.")
    folder = Path(__file__).resolve().parent / name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"the tiny pack's folder {name!r} was looked for at {folder} and is not there. "
            "Run `make pack` in the project to build it, or reinstall the project with its package vegas_tiny."
        )
    return folder
