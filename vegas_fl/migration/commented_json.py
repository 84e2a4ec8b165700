"""JSON as the replaced system reads it: with ``//``, ``#`` and ``/* */`` comments and trailing commas."""

import json
import re
from pathlib import Path
from typing import Any

from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import read_text

# Strings first, so that what looks like a comment inside them stays.
_TOKENS = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|#[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING = re.compile(r'("(?:\\.|[^"\\])*")|,(\s*[}\]])')


def read(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises
    ------
    VegasError
        The file does not exist, is not a JSON object, or has a key twice.
    """
    try:
        text = read_text(path, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise VegasError(f"{path} cannot be read ({error}); give the path of a JSON configuration") from error
    # Comments become blanks of the same length, so that positions in messages stay right.
    plain = _TOKENS.sub(lambda m: m[0] if m[0][0] == '"' else re.sub(r"[^\n]", " ", m[0]), text)
    plain = _TRAILING.sub(lambda m: m[1] or m[2], plain)
    try:
        content = json.loads(plain, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise VegasError(f"{path} is not valid JSON: {error}; correct it") from error
    if not isinstance(content, dict):
        raise VegasError(f"{path} is not a JSON object; expected a configuration: {{ … }}")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} appears twice, keep one")
    return content
