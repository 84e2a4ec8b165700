"""``captions.json``: what recordings show, in words. One file in each class's folder, or one for all at the top.

A class's file maps names of recordings to captions (or to lists of captions, of which the first is used), or lists
objects with a ``caption`` and one more text, the name. The file at the top maps classes to such content, or
``class/name`` to captions. File endings in names are ignored.
"""

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

from vegas_fl.core.errors import VegasError, shortened, some
from vegas_fl.core.files import read_text
from vegas_fl.core.names import normal, shown, undecodable
from vegas_fl.data.datasets.folder import class_folders

LONGEST = 5000
"""Characters of a caption: the text encoders read 512 tokens at most."""


def captions_of(root: Path, folder: Path, label: str, names: Set[str]) -> dict[str, str]:
    """The captions of a class, from the file in its ``folder``, else from the one at the data set's ``root``; none if
    there is neither. ``names`` are its recordings, without endings, in Unicode's composed form.

    Raises
    ------
    VegasError
        A file is invalid, or has captions for recordings that do not exist.
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
            f"{some(list(map(shown, strange)))}; restore the recordings or remove the captions"
        )
    return captions


def _read(path: Path) -> Any:
    try:
        return json.loads(read_text(path, "utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise VegasError(f"{path} cannot be read as JSON ({error}); repair or remove it") from error


def _of_class(content: Any, label: str, path: Path) -> Any:
    """The part of the file at the top that is about a class."""
    if not isinstance(content, dict):
        return [content]
    mine: dict[str, Any] = {}
    classes = class_folders(path.parent, "audios")
    for key, value in content.items():
        of, slash, name = normal(key).partition("/")
        if of not in classes:
            raise VegasError(
                f"{path} has a caption for {shortened(key)}, but {path.parent} has no such class; name recordings like "
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
                f'{path}: expected {{"video_00000": "a dog barks"}}, got {shortened(name)} with the caption '
                f"{shortened(caption)}"
            )
        if len(text) > LONGEST:
            raise VegasError(
                f"{path}: the caption of {shortened(name)} has {len(text)} characters, expected at most {LONGEST}; "
                "shorten it"
            )
        captions[normal(Path(name).stem)] = text.strip()
    return captions


def _named(entry: Any) -> tuple[str | None, Any]:
    """Name and caption of a list entry."""
    names = [value for key, value in entry.items() if key != "caption"] if isinstance(entry, dict) else []
    texts = [value for value in names if isinstance(value, str)]
    return (texts[0], entry.get("caption")) if texts else (None, entry)
