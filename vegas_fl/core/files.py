"""Files and folders: atomic writes, and where a folder would be created."""

import contextlib
import os
from pathlib import Path

from vegas_fl.core.errors import VegasError


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write ``data`` so that ``path`` is never a partial file: at any moment it is absent, the old file or the new one.

    Without ``durable`` this holds if the process is killed, but not if the power fails.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise VegasError(
            f"{path} cannot be written ({error.strerror}); free the disk or choose another folder"
        ) from error


def nearest_existing(path: Path) -> Path:
    """``path`` itself, or the nearest of its parents that exists (a dangling link exists)."""
    path = path.absolute()
    while not os.path.lexists(path):
        path = path.parent
    return path
