"""Settings and fixtures every test shares."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.once import Once
from tests.support.project import ROOT

# Tests run side by side with other work: threads that wait must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def esc10() -> Path:
    """Real recordings in ESC-50's layout: $VEGAS_ESC10, or beside the checkout."""
    folder = Path(os.environ.get("VEGAS_ESC10", ROOT.parent / "shared" / "esc10"))
    if not (folder / "meta" / "esc50.csv").is_file():
        pytest.skip("no real recordings: set VEGAS_ESC10 to a folder in ESC-50's layout")
    return folder


@pytest.fixture(scope="session")
def of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for a whole test run, whatever the number of its processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "of_all_workers"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def once(of_all_workers: Path, tmp_path_factory: pytest.TempPathFactory) -> Once:
    return Once(of_all_workers, tmp_path_factory)


@pytest.fixture(scope="session")
def embedding_cache(of_all_workers: Path) -> Path:
    """One cache for all runs of a test run: the same toy clips are embedded once."""
    folder = of_all_workers / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def machines(tmp_path: Path) -> Path:
    """The example settings, copied as the guide says."""
    for name in ("server.yaml", "node.yaml"):
        shutil.copy(ROOT / "deploy" / name, tmp_path)
    return tmp_path
