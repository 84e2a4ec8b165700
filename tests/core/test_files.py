"""Files are whole or not there at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file, not a folder")
    with pytest.raises(VegasError, match="cannot be written"):
        write_atomically(blocked / "x", b"data")
    assert blocked.read_text() == "a file, not a folder"
