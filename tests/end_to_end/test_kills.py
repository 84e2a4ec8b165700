"""Any process of a deployment may be killed: the same command goes on, and ends with the same files."""

from __future__ import annotations

from pathlib import Path

import pytest

from vegas_fl.benchmarks.kills import VICTIMS, bench


@pytest.mark.slow
@pytest.mark.long
def test_whichever_process_is_killed_the_run_ends_with_the_same_files(tmp_path: Path) -> None:
    attempts = list(bench(tmp_path, len(VICTIMS), seed=1))
    assert [attempt.victim for attempt in attempts] == list(VICTIMS)
    assert all(attempt.same for attempt in attempts), attempts
