"""What the server records of the nodes' pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from strategies.stages.pictures import _report
from vegas_fl.federation.messages import Pictures


class Lines:
    """A record that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def add(self, **line: Any) -> None:
        self.lines.append(line)


def test_a_folder_of_the_server_is_not_opened_because_a_node_names_it(tmp_path: Path) -> None:
    own, other = tmp_path / "run/node_1", tmp_path / "private"
    own.mkdir(parents=True)
    other.mkdir()
    record: Any = Lines()
    for folder in (own, other, tmp_path / "run/../private"):
        values = Pictures(pictures=1, rendered=1, missing=0, folder=str(folder))
        _report("1", values, own, record, {})
    assert [line["here"] for line in record.lines] == [True, False, False]
