"""The packages that results depend on: which are installed, and which the project was tested with."""

import importlib.metadata

LOCKED = {"torch": "2.13.0", "diffusers": "0.42.1", "flwr": "1.41.0"}
"""As in requirements.lock, which does not travel with an app of Flower."""


def installed() -> dict[str, str]:
    """Package → its version here, without the part that names a build (``+cpu``)."""
    found = {}
    for name in LOCKED:
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found[name] = "is missing"
    return found


def shown() -> str:
    """The installed versions, as text."""
    return ", ".join(f"{name} {version}" for name, version in installed().items())


def difference() -> str | None:
    """How they differ from the tested ones, as a sentence; None if they do not."""
    here = installed()
    other = [f"{name} {version} (tested: {LOCKED[name]})" for name, version in here.items() if version != LOCKED[name]]
    if not other:
        return None
    return (
        f"{', '.join(other)}: weights and pictures may differ; install those of requirements.lock. If "
        "`flwr run` installed these, set FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1 before the SuperLink starts"
    )
