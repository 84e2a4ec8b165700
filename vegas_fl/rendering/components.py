"""The components of a FluxPipeline in diffusers' layout: checked before any work, and loaded strictly."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vegas_fl.core import modelfiles
from vegas_fl.core.errors import VegasError
from vegas_fl.core.modelfiles import Incomplete

TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
PICTURE_PARTS = ("transformer", "vae")
CLASSES = {
    "transformer": ("diffusers", "FluxTransformer2DModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "text_encoder_2": ("transformers", "T5EncoderModel"),
}
"""Library and class of the components with weights."""


def check_files(folder: Path, parts: Sequence[str]) -> None:
    """Raise :class:`Incomplete` if a file of the components ``parts`` is missing, in another format, or a Git LFS
    pointer. Reads no weights."""
    if not (folder / "model_index.json").is_file():
        single = sorted(path.name for path in folder.glob("*.safetensors"))
        seen = f"a single-file checkpoint, {single[0]}, which is not read" if single else "no model_index.json"
        raise Incomplete(f"{folder} is not a diffusers model ({seen}); copy the whole folder in diffusers' layout")
    index = modelfiles.read_json(folder / "model_index.json")
    if absent := [part for part in parts if not (folder / part).is_dir()]:
        raise Incomplete(f"{folder} lacks its component {absent[0]}; {modelfiles.AGAIN}")
    for part in parts:
        place = folder / part
        if part.startswith("tokenizer"):
            modelfiles.tokenizer_files(place)
        elif part == "scheduler":
            modelfiles.read_json(place / "scheduler_config.json")
        else:
            modelfiles.read_json(place / "config.json")
            modelfiles.weight_files(place)
            named = index.get(part)
            if isinstance(named, list) and named[1:] and named[1] not in (None, CLASSES[part][1]):
                raise Incomplete(f"{folder}'s {part} is a {named[1]}, expected a {CLASSES[part][1]}; give a FLUX.1")


def check_weights(folder: Path, parts: Sequence[str]) -> None:
    """Raise :class:`Incomplete` if the weights of ``parts`` are not exactly those that their config.json describe.
    Reads only the headers of the files."""
    for part in parts:
        if part not in CLASSES or "quantization_config" in modelfiles.read_json(folder / part / "config.json"):
            continue  # weights that are stored quantised have other names
        found = modelfiles.shapes(modelfiles.weight_files(folder / part))
        try:
            if CLASSES[part][0] == "diffusers":
                from accelerate import init_empty_weights

                kind = _class(part)
                with init_empty_weights():
                    model = kind.from_config(kind.load_config(folder / part))
                wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
                other = (name for name in wanted if name in found and found[name] != wanted[name])
                modelfiles.check_keys(str(folder / part), wanted.keys() - found, found.keys() - wanted.keys(), other)
            else:
                load_strictly(_class(part), folder / part, device_map="meta")
        except (ValueError, TypeError, RuntimeError) as error:
            raise Incomplete(f"{folder / part} cannot be opened ({first_line(error)}); {modelfiles.AGAIN}") from error


def load_strictly(kind: Any, folder: Path, allowed: Sequence[str] = (), **options: Any) -> Any:
    """A model of diffusers or transformers, in evaluation mode.

    Parameters
    ----------
    kind : class
    folder : Path
    allowed : sequence of str
        Beginnings of the names of tensors that the file may hold though the model has none of them.
    options
        Of its ``from_pretrained``.

    Raises
    ------
    Incomplete
        A tensor is missing (the libraries would draw it at random), unexpected, or of another shape.
    """
    quiet()
    model, info = kind.from_pretrained(
        folder, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True, **options
    )
    # Positions that old versions of transformers stored are computed.
    unexpected = [
        name
        for name in info["unexpected_keys"]
        if not name.endswith("position_ids") and not name.startswith(tuple(allowed))
    ]
    other = (str(entry[0] if isinstance(entry, tuple) else entry) for entry in info["mismatched_keys"])
    modelfiles.check_keys(str(folder), info["missing_keys"], unexpected, other)
    return model.eval()


def load(folder: Path, part: str, dtype: torch.dtype, **options: Any) -> Any:
    """One component of the pipeline in ``folder``.

    Raises
    ------
    VegasError
        It is not the one that its files say, or was loaded in another type than ``dtype``.
    """
    place = folder / part
    if part in CLASSES:
        model = load_strictly(_class(part), place, dtype=dtype, **options)
        if model.dtype != dtype:
            raise VegasError(
                f"renderer.dtype={str(dtype).removeprefix('torch.')}, but the library loaded {part} as "
                f"{str(model.dtype).removeprefix('torch.')}; install newer versions of diffusers and transformers"
            )
        return model
    library, name = modelfiles.read_json(folder / "model_index.json")[part]
    return getattr(_library(library), name).from_pretrained(place, local_files_only=True)


def quiet() -> None:
    """Keep the libraries' progress bars and reports from hiding ours; what they report is checked."""
    for library in (_library("diffusers"), _library("transformers")):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def first_line(error: BaseException) -> str:
    """The first line of a library's error message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _class(part: str) -> Any:
    library, name = CLASSES[part]
    return getattr(_library(library), name)


def _library(name: str) -> Any:
    if name == "diffusers":
        os.environ.setdefault("HF_ENABLE_PARALLEL_LOADING", "yes")  # shards; read when it is first imported
        import diffusers

        return diffusers
    import transformers

    return transformers
