"""One picture on disk: a PNG whose text chunk says how it was made."""

from __future__ import annotations

import functools
import io
import json
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically
from vegas_fl.core.modelfiles import seen

if TYPE_CHECKING:
    from PIL.Image import Image

CHUNK = "vegas-fl"
"""Name of the text chunk."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the packages that determine a picture."""
    found = {}
    for package in ("vegas-fl", "torch", "diffusers"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


def encoded(image: Image, recipe: dict[str, Any]) -> bytes:
    """A PNG whose text chunk holds ``recipe`` and versions. Compressing takes most of the time; other threads run
    meanwhile."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    # Keys in order, so that the bytes do not depend on where a recipe was kept.
    info.add_text(CHUNK, json.dumps({**recipe, "versions": versions()}, sort_keys=True))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def write(path: Path, image: Image | bytes, recipe: dict[str, Any]) -> bytes:
    """Write a picture, encoded already or not, with a text chunk that holds ``recipe``; returns the file's bytes.

    Raises
    ------
    VegasError
        The disk is full, or the folder cannot be written to.
    """
    data = image if isinstance(image, bytes) else encoded(image, recipe)
    # Not forced to disk, which takes longer than drawing: damage by a power cut is found by the hash.
    write_atomically(path, data, durable=False)
    return data


def read(path: Path) -> Image:
    """A picture, decoded.

    Raises
    ------
    VegasError
        It is missing, damaged, no picture, or so large that decoding it would fill the memory.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                image.load()
                return image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise VegasError(
            f"{path} cannot be read as a picture: it has more than {Image.MAX_IMAGE_PIXELS} pixels; remove it"
        ) from error
    except Exception as error:  # of a damaged file, Pillow's decoders raise anything
        raise VegasError(f"{path} cannot be read as a picture ({seen(path, error)}); remove it") from error


def recipe(image: Image) -> dict[str, Any]:
    """What the text chunk of a picture says; empty if it has none that can be read."""
    try:
        chunk = json.loads(image.text[CHUNK])  # type: ignore[attr-defined]
    except (KeyError, ValueError, AttributeError, TypeError, RecursionError):
        return {}
    return chunk if isinstance(chunk, dict) else {}
