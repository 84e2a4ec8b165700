"""``captions.json``: what recordings show, in words; in a class's folder, or one for all classes at the top.

A class's file maps names of recordings to captions (or to lists of captions, of which the first is taken), or lists
objects with a ``caption`` and one further text, the name. The one at the top maps classes to such content, or
``class/name`` to captions. Names count without their endings.
"""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

from vegas_fl.core.errors import VegasError, some
from vegas_fl.core.names import normal, undecodable
from vegas_fl.data.datasets.folder import class_folders


def captions_of(root: Path, folder: Path, label: str, names: Set[str]) -> dict[str, str]:
    """The captions of a class, from its own file if it has one, else from the one at the top; none without either.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    folder : Path
        That of the class in it.
    label : str
    names : set of str
        Its recordings, without endings, in Unicode's composed form.

    Raises
    ------
    VegasError
        A file cannot be used, or has captions of recordings that are not there.
    """
    own, common = folder / "captions.json", root / "captions.json"
    if own.exists():
        path, captions = own, _checked(_read(own), own)
    elif common.exists():
        path, captions = common, _checked(_of_class(_read(common), label, common), common)
    else:
        return {}
    if strange := sorted(set(captions) - names):
        raise VegasError(
            f"{path} has captions for {len(strange)} recordings that are not in {folder / 'audios'}: "
            f"{some(strange)}; restore the recordings or take their captions out"
        )
    return captions


def _read(path: Path) -> Any:
    if not path.is_file():
        raise VegasError(f"{path} is not a regular file; expected a JSON file there, or nothing")
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise VegasError(f"{path} cannot be read as JSON ({error}); repair it or take it away") from error


def _of_class(content: Any, label: str, path: Path) -> Any:
    """What the file at the top says of a class."""
    if not isinstance(content, dict):
        return [content]
    mine: dict[str, Any] = {}
    classes = class_folders(path.parent, "audios")
    for key, value in content.items():
        of, slash, name = normal(key).partition("/")
        if of not in classes:
            raise VegasError(
                f"{path} has a caption of {key!r}, which names no class in {path.parent}; name recordings as "
                f"{label}/video_00000, or put a captions.json into each class's folder"
            )
        if of == label and not slash:
            return value
        if of == label:
            mine[name] = value
    return mine


def _checked(content: Any, path: Path) -> dict[str, str]:
    """Captions by name."""
    entries = content if isinstance(content, list) else [content]
    pairs = list(content.items()) if isinstance(content, dict) else [_named(entry) for entry in entries]
    captions = {}
    for name, caption in pairs:
        text = caption[0] if isinstance(caption, list) and caption else caption
        if not isinstance(name, str) or not isinstance(text, str) or not text.strip() or undecodable(text):
            raise VegasError(
                f'{path}: {name!r} has the caption {caption!r}; needed is {{"video_00000": "a dog barks"}}'
            )
        captions[normal(Path(name).stem)] = text.strip()
    return captions


def _named(entry: Any) -> tuple[str | None, Any]:
    """Name and caption of an entry of a list."""
    names = [value for key, value in entry.items() if key != "caption"] if isinstance(entry, dict) else []
    texts = [value for value in names if isinstance(value, str)]
    return (texts[0], entry.get("caption")) if texts else (None, entry)
