"""Tables of inputs and of what is to be seen, kept as YAML beside the tests that read them."""

from __future__ import annotations

from pathlib import Path

import yaml


def table(test: str, name: str = "") -> list[tuple[str, ...]]:
    """The rows of ``mistakes.yaml`` beside a test's file, or of one of its sections."""
    rows = yaml.safe_load(Path(test).with_name("mistakes.yaml").read_text("utf8"))
    return [tuple(row) for row in (rows[name] if name else rows)]
