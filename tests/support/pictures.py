"""Comparing folders of pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path


def hashes(folder: Path) -> dict[str, str]:
    """Path → hash of every picture below a folder, but for contact sheets."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.glob("**/*.png"))
        if "sheet" not in p.name
    }
