"""A page that shows all pictures of a run: thumbnails by node and class, and how each was made."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically
from vegas_fl.rendering.folder import read_manifest
from vegas_fl.rendering.runfile import find_folders
from vegas_fl.storage.provenance import in_words

NAME = "gallery.html"


def write_gallery(place: Path) -> tuple[Path, int]:
    """Write ``gallery.html`` into ``place``; its path and the number of pictures.

    The page is one file beside the pictures, works without a server, and contains the manifests. A link can select:
    ``gallery.html#node=node_0&class=dog&picture=dog_0001.png``.

    Raises
    ------
    VegasError
        No pictures were found at or below ``place``.
    """
    folders: list[dict[str, str]] = []
    pictures: list[list[Any]] = []
    classes: dict[str, int] = {}
    recipes: dict[str, int] = {}
    for folder in find_folders(place):
        lines = [line for name, line in read_manifest(folder).items() if (folder / name).is_file()]
        path = folder.relative_to(place).as_posix()
        for line in sorted(lines, key=lambda line: (line["class"], line["file"])):
            drawn = dict(line.get("drawn") or {})
            adapter = drawn.pop("adapter", None)
            about = {"adapter": in_words(adapter)} if adapter else {}
            made_from = {**about, **line["recipe"], "versions": line.get("versions"), "drawn": drawn}
            recipe = recipes.setdefault(json.dumps(made_from), len(recipes))
            label = classes.setdefault(line["class"], len(classes))
            pictures.append([len(folders), line["file"], label, str(line["seed"]), line["sha256"], recipe])
        folders.append({"name": path if path != "." else folder.name, "path": "" if path == "." else path})
    if not pictures:
        raise VegasError(f"{place} holds no pictures yet; draw some first")
    data: dict[str, Any] = {
        "title": place.absolute().name,
        "folders": folders,
        "classes": list(classes),
        "recipes": [json.loads(recipe) for recipe in recipes],
        "pictures": pictures,
    }
    text = resources.files("vegas_fl.rendering").joinpath(NAME).read_text("utf8")
    # "<" could end the element that contains the data.
    page = text.replace("__DATA__", json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"))
    write_atomically(place / NAME, page.encode())
    return place / NAME, len(pictures)
