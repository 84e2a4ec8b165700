"""Files and folders: reading what others wrote, atomic writes, and where a folder would be created."""

import contextlib
import errno
import functools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from vegas_fl.core.errors import VegasError

MOST_BYTES = 2**28
"""Of a file of text that is read whole."""
SECRET = 32
"""Bytes of a secret."""
MOST_YAML = 2**22
"""Characters of YAML: its parser takes a hundred times as much memory."""


def regular(path: Path) -> Path:
    """``path``, unless a pipe or a device is there, of which opening may take for ever.

    Raises
    ------
    OSError
        One is there.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "expected a regular file", str(path))
    return path


def read_text(path: Path, encoding: str = "utf8", errors: str = "strict") -> str:
    """The text of a regular file.

    Raises
    ------
    OSError, UnicodeDecodeError
        It cannot be read, is not a regular file, is too large, or is not text.
    """
    if (size := regular(path).stat().st_size) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"expected at most {MOST_BYTES} bytes, got {size}", str(path))
    return path.read_text(encoding, errors)


def parse_yaml(text: str) -> Any:
    """What YAML says. Aliases are refused: a few lines of them can stand for more than any memory holds.

    Raises
    ------
    yaml.YAMLError
        It is not valid YAML, too long, too deep, or has an alias.
    """
    if len(text) > MOST_YAML:
        raise yaml.YAMLError(f"expected at most {MOST_YAML} characters, got {len(text)}")
    try:
        return yaml.load(text, _Loader)
    except RecursionError as error:
        raise yaml.YAMLError("it is too deep") from error
    except ValueError as error:  # of a date or a number that cannot be
        raise yaml.YAMLError(str(error)) from error


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(
                problem="aliases are not supported; write the value out", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)


def write_atomically(path: Path, data: bytes, *, durable: bool = True, mode: int = 0o666) -> None:
    """Write ``data`` so that ``path`` is never a partial file: at any moment it is absent, the old file or the new one.

    Without ``durable`` this holds if the process is killed, but not if the power fails. The umask is taken off
    ``mode``.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb", opener=functools.partial(os.open, mode=mode)) as file:
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


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process reads and changes ``path``, whose folder is made; raise VegasError if it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"), mode=0o600)
        lock.acquire()
    except OSError as error:
        raise VegasError(
            f"{path} cannot be written ({error.strerror}); change its permissions or choose another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def own_secret(path: Path) -> bytes:
    """32 random bytes of the operating system that only this account can read, made on first use.

    Raises
    ------
    VegasError
        They can neither be read nor written.
    """
    try:
        with locked(path):
            if not os.path.lexists(path):
                write_atomically(path, secrets.token_hex(SECRET).encode(), mode=0o600)
            secret = bytes.fromhex(read_text(path))
    except (OSError, ValueError) as error:
        raise VegasError(f"{path} cannot be read ({error}); restore it, or remove it to get a new secret") from error
    if len(secret) != SECRET:
        raise VegasError(f"{path} has {len(secret)} bytes, expected {SECRET}; restore it, or remove it")
    return secret


def nearest_existing(path: Path) -> Path:
    """``path`` itself, or the nearest of its parents that exists (a dangling link exists)."""
    path = path.absolute()
    while not os.path.lexists(path):
        path = path.parent
    return path
