"""The files of a model in a folder: which ones the libraries read, and what is wrong with them."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vegas_fl.core.errors import VegasError, some

STEMS = ("diffusion_pytorch_model", "model")
"""Names of weights in the layouts of diffusers and transformers."""
AGAIN = "copy the model again"


class Incomplete(VegasError):
    """A file of a model is missing, or is not what it is called."""


def lfs_pointer(path: Path) -> bool:
    """Whether a file is a pointer that Git LFS left in the place of the real one."""
    try:
        with open(path, "rb") as file:
            return file.read(64).startswith(b"version https://git-lfs")
    except OSError:
        return False


def seen(path: Path, error: object) -> str:
    """Why a file cannot be read: ``error``, or that it is a Git LFS pointer."""
    return "it is a Git LFS pointer, not the file itself; run git lfs pull" if lfs_pointer(path) else str(error)


def real(path: Path) -> Path:
    """``path``; :class:`Incomplete` if it is missing, empty, or a Git LFS pointer."""
    if not path.is_file():
        raise Incomplete(f"{path} is missing; {AGAIN}")
    if lfs_pointer(path):
        raise Incomplete(f"{path} is a Git LFS pointer, not the file itself; run git lfs pull in its folder")
    if not path.stat().st_size:
        raise Incomplete(f"{path} is empty; {AGAIN}")
    return path


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; :class:`Incomplete` if the file does not hold one."""
    try:
        values = json.loads(real(path).read_text("utf8"))
    except (OSError, ValueError) as error:
        raise Incomplete(f"{path} cannot be read ({error}); {AGAIN}") from error
    if not isinstance(values, dict):
        raise Incomplete(f"{path} cannot be read (expected a JSON object); {AGAIN}")
    return values


def weight_files(folder: Path, pickled: bool = False) -> list[Path]:
    """The files that hold the weights of the model in ``folder``.

    Parameters
    ----------
    folder : Path
    pickled : bool
        Whether to fall back to ``pytorch_model.bin`` if no safetensors file exists.

    Raises
    ------
    Incomplete
        There are none, or not all; the text says what is there instead: another variant, shards without their index,
        a single-file checkpoint, a Git LFS pointer.
    """
    for stem in STEMS:
        index, single = folder / f"{stem}.safetensors.index.json", folder / f"{stem}.safetensors"
        if index.is_file() and not (stem == "model" and single.is_file()):
            names = read_json(index).get("weight_map")
            if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
                raise Incomplete(f"{index} names no files (weight_map); {AGAIN}")
            return [real(folder / Path(name).name) for name in sorted(set(names.values()))]
        if single.is_file():
            return [real(single)]
    if pickled and (binary := folder / "pytorch_model.bin").is_file():
        return [real(binary)]
    raise Incomplete(_instead(folder))


def _instead(folder: Path) -> str:
    """What a folder without usable weights holds."""
    there = sorted(path.name for path in folder.glob("*") if path.suffix in (".safetensors", ".bin", ".gguf", ".sft"))
    if not there:
        return f"{folder} holds no weights (.safetensors); {AGAIN}"
    for name in there:
        if re.search(r"-\d{5}-of-\d{5}", name):
            index = re.sub(r"-\d{5}-of-\d{5}(.*)\.safetensors", r"\1.safetensors.index.json", name)
            return f"{folder} holds shards of weights ({some(there, 2)}) without their index {index}; copy it too"
        if (found := re.fullmatch(r"(.+?)\.(\w+)\.safetensors", name)) and found[1] in STEMS:
            return (
                f"{folder} holds only the variant {found[2]} of the weights ({name}); rename it to "
                f"{found[1]}.safetensors to use it, or copy the model without a variant"
            )
    return (
        f"{folder} holds {some(there, 2)}, but no weights in the layout of diffusers and transformers "
        "(model.safetensors or diffusion_pytorch_model.safetensors, or shards with an index); single-file checkpoints "
        f"are not read: {AGAIN} in that layout"
    )


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of the tokenizer in ``folder`` that hold its vocabulary.

    Raises
    ------
    Incomplete
        It has none: the libraries would make an empty tokenizer, to which all texts are the same.
    """
    for names in (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",)):
        if (folder / names[0]).is_file():
            for name in names:
                if name.endswith(".json"):
                    read_json(folder / name)
            return [real(folder / name) for name in names]
    raise Incomplete(
        f"{folder} holds no vocabulary (tokenizer.json; or vocab.json and merges.txt; or spiece.model); {AGAIN}"
    )


def read_files(folder: Path) -> Iterator[Path]:
    """The files of a model or tokenizer that are read: configuration, vocabulary and weights, sorted. Files that a
    file manager or another library left there are not."""
    weights: Sequence[Path] = ()
    if not any((folder / name).exists() for name in ("tokenizer_config.json", "scheduler_config.json")):
        try:
            weights = weight_files(folder, pickled=True)
        except Incomplete:  # said where the model is loaded
            weights = sorted(folder.glob("*.safetensors"))
    kept = [path for path in folder.glob("*") if path.is_file() and path.name[0] != "." and path.suffix in _TEXTS]
    yield from sorted({*kept, *weights})


_TEXTS = (".json", ".txt", ".model")


def shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Name → shape of the tensors in safetensors files, from their headers.

    Raises
    ------
    Incomplete
        A file cannot be read, for example because it was cut short.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        try:
            with safe_open(path, "pt") as file:
                found |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise Incomplete(f"{path} cannot be read ({error}); {AGAIN}") from error
    return found


def check_keys(where: str, missing: Iterable[str], unexpected: Iterable[str], other: Iterable[str] = ()) -> None:
    """Raise :class:`Incomplete` if a model's weights are not those that its configuration describes.

    Parameters
    ----------
    where : str
        What holds the weights, in messages.
    missing, unexpected, other : iterables of str
        Names of tensors that are not there, that should not be there, and that have another shape.
    """
    said = []
    for names, what in ((missing, "lacks"), (unexpected, "also holds"), (other, "has other shapes of")):
        if listed := sorted(names):
            said.append(f"{what} {some(listed, 3)}")
    if said:
        raise Incomplete(
            f"{where} does not hold the weights that its config.json describes: it {'; it '.join(said)}; {AGAIN}, "
            "config.json included"
        )
