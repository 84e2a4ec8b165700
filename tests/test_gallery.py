"""The gallery in a real browser: ten thousand pictures, filters, provenance, names that could break a page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.command import vegas
from vegas_fl.rendering.folder import PictureFolder, plan

CHROME = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def dom(page: Path, fragment: str = "") -> str:
    """The page as a browser has built it."""
    if CHROME is None:
        pytest.skip("no Chromium to open the page with")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    options += [f"--user-data-dir={page.parent / '.browser'}", "--window-size=1000,800"]
    done = subprocess.run(
        [CHROME, *options, f"file://{page}{fragment}"], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.partition('<script type="application/json"')[0]


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


def test_ten_thousand_pictures_are_shown_a_screen_at_a_time(page: Path) -> None:
    built = dom(page)
    assert "10000 of 10000 pictures" in built
    thumbnails = re.findall(r'<img loading="lazy"[^>]*src="([^"]+)"', built)
    assert 200 <= len(thumbnails) <= 2000 and thumbnails[0] == "node_0/dog_0001.png"
    assert page.stat().st_size < 4e6


def test_filters_and_provenance(page: Path) -> None:
    built = dom(page, "#node=node_0&class=drum&picture=drum_0002.png")
    assert "4500 of 10000 pictures" in built and 'src="node_0/dog_' not in built
    assert re.search(r'<dialog id="detail" open="">.*drum_0002\.png', built, re.S)
    assert "hash of" in built and "sha256" in built and "versions" in built


def test_names_do_not_break_the_page(page: Path) -> None:
    built = dom(page, "#node=node_1")
    assert "1000 of 10000 pictures" in built
    assert "it&#39;s 100 pct &amp; &lt;b&gt;" in built.replace("'", "&#39;")


def test_no_pictures_is_a_sentence(tmp_path: Path) -> None:
    assert "holds no pictures of a run" in vegas(tmp_path, "gallery", ".", code=1).stderr
