"""Names that people give to files and classes, in every script and in whatever bytes a disk has them."""

import re
import unicodedata

_UNDECODABLE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Characters that move a cursor, end a line, turn the direction of writing or cannot be seen."""

CLASS_SIGNS = frozenset(" _.,'()&+-\u200c\u200d")
"""What the name of a class may have beside letters and digits; the last two join letters in Indic and Persian words."""

CLASS_BYTES = 180
"""The longest name of a class in UTF-8: file names, of at most 255 bytes, hold it and more."""


def printable(text: str) -> str:
    r"""``text`` with the bytes that are not UTF-8, which Python keeps as lone surrogates, as ``\xe9``: it can be
    printed, hashed and written to any file."""
    return _UNDECODABLE.sub(lambda found: rf"\x{ord(found[0]) & 0xFF:02x}", text)


def shown(path: object) -> str:
    """A path, a file name or a text of another machine, as messages and records tell it: :func:`printable`, on one
    line, and without what a terminal would obey."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], printable(str(path)))


def normal(name: str) -> str:
    """A name in Unicode's composed form (NFC): macOS writes "é" as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def undecodable(text: str) -> bool:
    """Whether ``text`` has bytes that are not UTF-8."""
    return bool(_UNDECODABLE.search(text))


def class_name_mistake(name: str) -> str | None:
    """Why a class cannot have this name, which becomes part of file names; None if it can. Letters, their marks and
    digits of every script are allowed."""
    kinds = [unicodedata.category(sign)[0] for sign in name]
    fit = all(kind in "LMN" or sign in CLASS_SIGNS for kind, sign in zip(kinds, name, strict=True))
    if not fit or not (name.startswith("_") or kinds[:1] in (["L"], ["N"])):
        return (
            f"{shown(name)!r} cannot be part of a file name; use letters, digits, blanks and . , ' _ - + & ( ), "
            "and begin with a letter or digit"
        )
    if (size := len(name.encode())) > CLASS_BYTES:
        return f"{name!r} is too long for a file name: {size} bytes in UTF-8, expected at most {CLASS_BYTES}"
    return None
