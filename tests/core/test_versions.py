"""A run says which packages it runs on, and whether they are the tested ones."""

from __future__ import annotations

import importlib.metadata
import re

import pytest

from tests.support.project import ROOT
from vegas_fl.core import versions


def test_the_tested_versions_are_those_of_the_lock_file() -> None:
    locked = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    assert {name: locked[name] for name in versions.LOCKED} == versions.LOCKED


def test_other_versions_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {**versions.LOCKED, "torch": f"{versions.LOCKED['torch']}+cpu"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: here[name])
    assert versions.difference() is None and versions.shown().startswith("torch 2.")
    here["torch"] = "2.99.0"
    told = versions.difference()
    assert told is not None and "torch 2.99.0 (tested: " in told and "requirements.lock" in told
    assert "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1" in told and "diffusers" not in told
