"""Links and commands of the pages lead somewhere."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from tests.support.pages import PAGES, commands, prose
from tests.support.project import ROOT
from vegas_fl.cli import app, usage
from vegas_fl.config import compose

LONGEST_README = 150

composed = functools.cache(compose)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pages
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}"


@pages
def test_commands_exist(page: Path) -> None:
    for words in commands(page):
        overrides = [word for word in words if "=" in word and not word.startswith(("-", "adapters=", "install="))]
        if {"--help", "--version", "-sc"} & set(words):
            continue
        line = usage.read(words)
        if line.command:
            tool = app.find(line.command, line.words)
            shown = f"{page.name}: vegas-fl {' '.join(words)}"
            assert not hasattr(tool, "commands") or not line.words, shown
            left = line.words[1:] if line.words[:1] == [tool.name] else line.words
            tool.make_context("vegas-fl", left, resilient_parsing=True)
            if not app.takes_overrides(tool):
                continue
        if overrides and not {"--config-dir", "--multirun"} & set(
            words
        ):  # the reader's own files; values to sweep over
            composed(tuple(overrides))


@pages
def test_named_tests_exist(page: Path) -> None:
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"`(test_\w+\.py)`", page.read_text("utf8"))) <= there


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf8").splitlines()) <= LONGEST_README


def test_each_run_of_the_pages_has_a_name_of_its_own() -> None:
    """Two different runs of one name would go to one folder, where the report shows the later one only."""
    runs: dict[tuple[str, str], set[frozenset[str]]] = {}
    for page in PAGES:
        for words in commands(page) if page.name != "measured.md" else ():  # each of its commands was run on its own
            a_tool = bool(words) and "=" not in words[0]
            if a_tool or {"--cfg", "--multirun", "--dry-run", "--config-dir"} & set(words):
                continue
            overrides = tuple(word for word in words if "=" in word)
            config = composed(overrides)
            for stage in config.stages:
                runs.setdefault((config.run, stage), set()).add(frozenset(overrides))
    assert len(runs) > 20
    assert {run: settings for run, settings in runs.items() if len(settings) > 1} == {}
