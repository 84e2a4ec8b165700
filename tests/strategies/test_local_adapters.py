"""The nodes' own adapters: on disk when the round's writer is done, the same numbers held or read, failures told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from strategies import local_adapters
from strategies.local_adapters import LocalWriter
from vegas_fl.algorithm.adapter import Adapter
from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.storage.adapters import adapter_header
from vegas_fl.storage.headers import Spaces

SPACES = Spaces(8, 16, 12, 4, 20, audio="audio", text="text")
CONFIG = compose([]).adapter


@pytest.mark.parametrize("held", [0, 10**9])
def test_what_was_kept_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(local_adapters, "HELD_BYTES", held)
    states = [Adapter(SPACES.shape, CONFIG).state_dict() for _ in range(3)]
    with LocalWriter(tmp_path, "run", 1, adapter_header(SPACES, CONFIG)) as writer:
        kept = [writer.keep(str(i), {"dog": i + 1}, state) for i, state in enumerate(states)]
    assert sorted(writer.files) == sorted(path for one in kept for path in one.paths.values())
    for i, (one, state) in enumerate(zip(kept, states, strict=True)):
        assert (one.held is None) == (held == 0)
        assert one.load(SPACES).header["samples"] == {"dog": i + 1}
        for found in (one.state(SPACES), one.load(SPACES).state):
            assert found.keys() == state.keys()
            assert all(torch.equal(found[name], state[name]) for name in state)


def test_a_disk_that_takes_nothing_ends_the_round(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    state = Adapter(SPACES.shape, CONFIG).state_dict()
    with (
        pytest.raises(VegasError, match="cannot be written"),
        LocalWriter(tmp_path / "file", "run", 1, adapter_header(SPACES, CONFIG)) as writer,
    ):
        writer.keep("0", {"dog": 1}, state)
