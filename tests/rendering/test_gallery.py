"""The gallery in a real browser: ten thousand pictures, filters, provenance, names that could break a page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.browser import Browser, browser
from tests.support.command import vegas
from vegas_fl.rendering.folder import PictureFolder, plan


def fill(path: Path, node: str, classes: list[str], count: int) -> None:
    folder = PictureFolder(path, {label: {"node": node, "generator": f"hash of {label}"} for label in classes})
    pictures = plan(1, node, classes, count)
    folder.save(pictures[0], Image.new("RGB", (16, 16), "red"))
    line = folder.manifest.read_text()
    for picture in pictures[1:]:
        os.link(path / pictures[0].name, path / picture.name)
        changed = line.replace(pictures[0].name, picture.name)
        changed = changed.replace(f'"class": "{pictures[0].label}"', f'"class": "{picture.label}"')
        with open(folder.manifest, "a") as file:
            file.write(changed)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("many")
    fill(out / "node_0", "0", ["dog", "drum"], 9_000)
    fill(out / "node_1", "1", ["it's 100 pct & <b>"], 1_000)
    done = vegas(out, "gallery", ".")
    assert "gallery.html: 10000 pictures" in done.stdout
    return out / "gallery.html"


@pytest.fixture(scope="module")
def tab(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        assert not tab.open(page, 1000).messages
        yield tab


COUNT = "document.querySelector('#count').textContent"
SHOWN = "document.querySelectorAll('#grid button').length"


def choose(tab: Browser, select: str, name: str) -> None:
    """Choose in a drop-down list as with the keyboard."""
    tab.value(f"document.querySelector('{select}').focus()")
    tab.press("Home")
    while tab.value(f"document.querySelector('{select}').value") != name:
        tab.press("ArrowDown")


@pytest.mark.slow
def test_ten_thousand_pictures_are_shown_a_screen_at_a_time(page: Path, tab: Browser) -> None:
    assert tab.value(COUNT) == "10000 of 10000 pictures"
    first = tab.value(SHOWN)
    assert 200 <= first <= 1000
    assert tab.value("document.querySelector('#grid img').getAttribute('src')") == "node_0/dog_0001.png"
    assert tab.value("document.querySelector('#grid img').naturalWidth") == 16
    assert 0 < tab.value("[...document.images].filter(i => i.complete).length") <= first
    tab.scroll(100_000)
    tab.until(f"{SHOWN} > {first}")
    tab.scroll(-1_000_000)
    tab.until("scrollY == 0")
    assert page.stat().st_size < 4e6


def test_a_click_tells_where_a_picture_comes_from(tab: Browser) -> None:
    tab.click("#grid button:nth-child(2)")
    tab.until("document.querySelector('dialog').open")
    told = tab.value("document.querySelector('dialog').innerText")
    assert "node_0/dog_0002.png" in told and "hash of" in told and "sha256" in told and "versions" in told
    tab.click("dialog button")
    tab.until("!document.querySelector('dialog').open")


def test_filters_by_node_and_class_whose_names_could_break_the_page(tab: Browser) -> None:
    choose(tab, "#class", "drum")
    tab.until("document.querySelector('#grid span').textContent == 'drum_0001'")  # as many dogs were passed on the way
    assert tab.value(COUNT) == "4500 of 10000 pictures"
    choose(tab, "#class", "")
    choose(tab, "#node", "node_1")
    tab.until(f"{COUNT} == '1000 of 10000 pictures'")
    assert tab.value("document.querySelector('#grid span').textContent") == "it's 100 pct & <b>_0001"
    assert tab.value("document.querySelector('#grid img').decode().then(() => true)")
    choose(tab, "#class", "drum")
    tab.until(f"{COUNT} == '0 of 10000 pictures'")


def test_a_link_chooses(page: Path, tab: Browser) -> None:
    tab.value("location.hash = 'node=node_0&class=drum&picture=drum_0002.png'")
    tab.until("document.querySelector('dialog').open")
    assert tab.value(COUNT) == "4500 of 10000 pictures"
    assert "drum_0002.png" in tab.value("document.querySelector('dialog').innerText")


def test_no_pictures_is_a_sentence(tmp_path: Path) -> None:
    assert "holds no pictures of a run" in vegas(tmp_path, "gallery", ".", code=1).stderr
