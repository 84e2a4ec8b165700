"""The pages of the project, and the commands they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.support.project import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf8"), flags=re.MULTILINE | re.DOTALL)


def typed(page: Path) -> list[list[str]]:
    """The words after `vegas-fl` in each command of a page's blocks, in the order of the page."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text("utf8"), flags=re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [_words(line) for line in lines if line.startswith("vegas-fl")]


def commands(page: Path) -> Iterator[list[str]]:
    """Those of its blocks and of its sentences, without placeholders ("…", CAPITALS)."""
    for words in [*typed(page), *map(_words, re.findall(r"`(vegas-fl [^`]+)`", prose(page)))]:
        yield [word for word in words if "…" not in word and not re.search(r"(^|=)[A-Z_]+$", word)]


def _words(line: str) -> list[str]:
    return shlex.split(line.partition(">")[0], comments=True)[1:]
