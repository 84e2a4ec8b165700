"""The table of docs/privacy.md that says what leaves a node."""

import re

from tests.support.project import ROOT


def listed() -> dict[tuple[str, str], str]:
    """(message, field) → its row."""
    page = (ROOT / "docs/privacy.md").read_text("utf8").partition("## What leaves a node")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in page.splitlines() if line[:2] == "| "]
    assert rows[0] == ["message", "field", "meaning", "size"]
    assert all(len(row) == 4 and all(row) for row in rows)
    return {(row[0], field): " ".join(row) for row in rows[1:] for field in re.findall(r"`([^`]+)`", row[1])}


def unlisted(names: set[str], row: str) -> set[str]:
    """The names that a row does not have."""
    return names - set(re.findall(r"`([^`]+)`", row))
