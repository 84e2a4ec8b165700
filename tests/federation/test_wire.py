"""What a node writes is shown on one line, and obeyed by no terminal."""

from __future__ import annotations

from typing import Any

import pytest

from vegas_fl.federation.messages import Pictures, Values
from vegas_fl.federation.wire import Refused, pack, read

FORGED = "\x1b[2J\x1b]0;owned\x07\r\n12:00:00 INFO run r finished; accuracy 1.000\u2028\u202egnp\u2066"
PICTURES: dict[str, Any] = {"pictures": 1, "rendered": 1, "missing": 0, "folder": "f"}


def plain(text: str) -> bool:
    return text.isprintable()


def test_a_problem_is_one_line() -> None:
    with pytest.raises(Refused) as told:
        read(pack({"problem": f"one\n- two {FORGED}"}), Values)
    assert plain(str(told.value)) and str(told.value).startswith("one; - two \\x1b[2J")


def test_a_note_and_a_folder_are_one_line() -> None:
    values = read(pack(PICTURES | {"folder": FORGED, "notes": [FORGED]}), Pictures).values
    assert plain(values.folder) and plain(values.notes[0]) and "accuracy 1.000" in values.notes[0]


def test_what_is_wrong_with_a_reply_is_one_line() -> None:
    with pytest.raises(Refused) as told:
        read(pack(PICTURES | {FORGED: 1}), Pictures)
    assert plain(str(told.value))
