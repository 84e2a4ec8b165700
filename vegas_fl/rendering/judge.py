"""The judge of pictures: a CLIP model (Radford et al. 2021) that classifies them and compares them with real ones.

One pass over the pictures gives three results: zero-shot classification (section 3.1 there), the CLIP score
(Hessel et al. 2021, "CLIPScore", scaled to 100), and CLIP's image features for the Fréchet distance to a folder of
real pictures ("CLIP-FID": Kynkäänniemi et al. 2023, "The role of ImageNet classes in Fréchet inception distance", who
show that it agrees with human judgement better than Inception's). Results of different judges are not comparable.

Letters: N pictures, K classes, F width of CLIP's joint space.
"""

import contextlib
import functools
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from vegas_fl.algorithm import metrics
from vegas_fl.algorithm.fidelity import frechet, kernel_distance
from vegas_fl.config import Config, RendererConfig
from vegas_fl.core import devices, hub, modelfiles, pack
from vegas_fl.core.devices import resolve_device
from vegas_fl.core.errors import VegasError
from vegas_fl.core.names import normal, shown
from vegas_fl.data.classes import prompt, words
from vegas_fl.rendering import inception, picture_file
from vegas_fl.rendering.components import first_line, load_strictly
from vegas_fl.rendering.jobs import Job

BATCH = 50

FILES = ("*.json", "*.txt", "model*.safetensors", "pytorch_model.bin")
"""Files of a judge on the hub."""

QUESTION = "This is a photo of {}."
"""Prompt template of the classification, as in transformers' zero-shot pipeline."""

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Suffixes of the files that are read from a folder of real pictures."""


Look = Callable[[str, str | None, str, Sequence[Path], Sequence[str]], tuple[Tensor, Tensor]]
"""What :func:`features` does."""


class Judgement(NamedTuple):
    """Results of the judge.

    Attributes
    ----------
    confusion : Tensor [K, K]
        Counts: row = class a picture was made for, column = predicted class.
    clip_scores : Tensor [N]
        100 * max(cos, 0) between a picture and its class prompt.
    features : Tensor [N, F]
        CLIP's image features, not normalised.
    """

    confusion: Tensor
    clip_scores: Tensor
    features: Tensor


def judge(
    pictures: Sequence[tuple[Path, str]],
    classes: Sequence[str],
    model: str,
    device: str,
    revision: str | None = None,
    look: Look | None = None,
) -> Judgement:
    """Judge pictures.

    Parameters
    ----------
    pictures : sequence of (path, class)
    classes : sequence of str
        The K classes to choose from, each as words in a prompt ("This is a photo of a crying baby.").
    model : str
        "pack" for the tiny pack's CLIP, or a hub id or folder of a CLIPModel with its processor.
    device : str
    revision : str, optional
        Of the model on the hub; default: the newest.
    look : callable, optional
        Used instead of :func:`features`.

    Raises
    ------
    VegasError
        The model cannot be opened.
    """
    texts = [*(QUESTION.format(words(c)) for c in classes), *map(prompt, classes)]
    seen, directed = (look or features)(model, revision, device, [path for path, _ in pictures], texts)
    directions = nn.functional.normalize(seen, dim=1)
    made = torch.tensor([classes.index(label) for _, label in pictures], dtype=torch.long)
    questions, prompts = directed.split(len(classes))
    taken = (directions @ questions.T).argmax(1)
    scores = 100 * (directions * prompts[made]).sum(1).clamp(min=0)
    return Judgement(metrics.confusion(made, taken, len(classes)), scores, seen)


def reference_pictures(folder: Path, classes: Sequence[str]) -> list[Path]:
    """The real pictures of ``classes`` in ``folder``: below ``<folder>/<class>/``, or all directly in it if it has no
    folder of any class.

    Raises
    ------
    VegasError
        The folder or that of a class does not exist, or holds fewer than two pictures.
    """
    if not folder.is_dir():
        raise VegasError(f"evaluation.reference={folder} is not a folder; give a folder of real pictures, or null")
    folders = {normal(shown(path.name)): path for path in folder.iterdir() if path.is_dir()}
    own = [label for label in classes if label in folders]
    if own and len(own) < len(classes):
        raise VegasError(
            f"evaluation.reference={folder} has folders for {', '.join(own)}, but none for "
            f"{', '.join(sorted(set(classes) - set(own)))}; add them, or give a folder of pictures without subfolders"
        )
    files = [path for label in own for path in folders[label].rglob("*")] if own else folder.iterdir()
    found = sorted(path for path in files if path.suffix.lower() in PICTURES and path.is_file())
    if len(found) < 2:
        raise VegasError(
            f"evaluation.reference={folder} has {len(found)} pictures ({', '.join(PICTURES)}) "
            f"of {', '.join(classes)}; expected at least 2"
        )
    return found


def reference_features(config: Config) -> Tensor:
    """Features ``[N, F]`` of the pictures in ``evaluation.reference``, as :func:`judge_job`'s."""
    settings = config.renderer
    assert config.evaluation.reference and settings.judge
    paths = reference_pictures(Path(config.evaluation.reference).expanduser(), config.classes)
    if config.evaluation.inception:
        return inception.features(config.evaluation.inception, resolve_device(config.device), paths)
    return features(settings.judge, settings.judge_revision, resolve_device(config.device), paths)[0]


def distances(made: Iterable[Tensor], real: Tensor) -> dict[str, float]:
    """``fid`` (Heusel et al. 2017, eq. 6) and ``kid`` (Binkowski et al. 2018) between features of generated and of
    real pictures. FID is biased upwards by few pictures: compare it at equal numbers; KID is not.

    Parameters
    ----------
    made : iterable of Tensor [N, F]
        In parts, of at least two pictures together.
    real : Tensor [M, F]

    Raises
    ------
    VegasError
        There are fewer than two generated pictures.
    """
    features = torch.cat(list(made))
    fid, kid = frechet(features, real), kernel_distance(features, real)
    if fid is None or kid is None:
        raise VegasError("FID and KID need at least two pictures, generated and real; set a larger samples_per_node")
    return {"fid": max(0.0, fid), "kid": kid}  # of equal sets, rounding leaves a little below 0


def judge_job(
    job: Job, config: Config, device: str, look: Look | None = None
) -> tuple[dict[str, Any] | None, Tensor | None, list[str]]:
    """Judge all pictures of a job, as :func:`judge` does.

    Returns
    -------
    judged : dict or None
        ``confusion`` [K, K] and the sum of the ``clip_score``; where recordings have a frame of their video, the
        number of ``frames`` and the sum of the ``image_similarity``. None without a judge.
    features : Tensor [N, F] or None
        The judge's image features, or Inception's, if there are real pictures to compare with.
    notes : list of str
        Why the pictures were not judged; they are kept all the same.
    """
    renderer = config.renderer
    if not renderer.judge:
        return None, None, []
    made = [(job.path / picture.name, picture.label) for picture in job.pictures]
    try:
        found = judge(made, config.judge_classes, renderer.judge, device, renderer.judge_revision, look)
        similar, notes = _similarity_to_frames(job, found.features, renderer, device, look)
        seen = found.features if config.evaluation.reference else None
        if seen is not None and (weights := config.evaluation.inception):
            seen = inception.features(weights, device, [path for path, _ in made])
    except (VegasError, RuntimeError, OSError, MemoryError) as error:  # a figure is missing, the pictures are there
        return None, None, [f"{job.name}: the pictures were not judged: {first_line(error)}"]
    judged = {"confusion": found.confusion.tolist(), "clip_score": found.clip_scores.double().sum().item()} | similar
    return judged, seen, notes


def _similarity_to_frames(
    job: Job, seen: Tensor, renderer: RendererConfig, device: str, look: Look | None
) -> tuple[dict[str, Any], list[str]]:
    """Sum of the cosines between pictures, with features ``seen`` [N, F], and frames of their recordings' videos; or
    why there is none, without names of files."""
    pairs = [(row, job.frames[p.clip]) for row, p in enumerate(job.pictures) if p.clip and p.clip in job.frames]
    if not pairs:
        return {}, []
    rows, paths = zip(*pairs, strict=True)
    try:
        real = (look or features)(str(renderer.judge), renderer.judge_revision, device, paths, ())[0]
    except VegasError:
        return {}, [f"{job.name}: no image similarity: a picture in <class>/img/ cannot be read; replace or remove it"]
    similar = F.cosine_similarity(seen[list(rows)], real).double().sum().item()
    return {"frames": len(rows), "image_similarity": similar}, []


def judge_problem(model: str) -> str | None:
    """What is wrong with a judge in a local folder, as a sentence; None if nothing is, or if it is on the hub. Reads
    no weights."""
    folder = Path(model).expanduser()
    if model == "pack" or not (folder.is_dir() or model.startswith((".", "/", "~"))):
        return None
    try:
        _check_files(folder)
        _open(folder, "meta")
    except VegasError as error:
        return f"renderer.judge={model} cannot be opened: {error}; or set renderer.judge=null"
    return None


def features(
    model: str, revision: str | None, device: str, paths: Sequence[Path], texts: Sequence[str] = ()
) -> tuple[Tensor, Tensor]:
    """Features ``[N, F]`` of pictures, and directions ``[M, F]`` of texts. The model is loaded once a process, and on
    the device only meanwhile."""

    def run(batch: int, place: str) -> tuple[Tensor, Tensor]:
        with _clip(model, revision).on(place) as clip:
            return clip.pictures(paths, batch), torch.cat(
                [clip.texts([*texts[i : i + BATCH]]) for i in range(0, len(texts), BATCH)]
            ) if texts else torch.zeros(0)

    return devices.sparing(run, BATCH, device, f"renderer.judge={model}")


def _check_files(folder: Path) -> None:
    """Raise :class:`VegasError` if a file of the judge is missing."""
    modelfiles.read_json(folder / "config.json")
    modelfiles.weight_files(folder, pickled=True)
    modelfiles.tokenizer_files(folder)


def _open(folder: Path, device: str) -> Any:
    from transformers import CLIPModel

    try:
        return load_strictly(CLIPModel, folder, device_map={"": device})
    except (OSError, ValueError, KeyError, SafetensorError, pickle.UnpicklingError) as error:
        raise VegasError(f"{folder} cannot be opened ({first_line(error)}); {modelfiles.AGAIN}") from error


@functools.lru_cache(maxsize=1)
def _clip(model: str, revision: str | None) -> "_CLIP":
    return _CLIP(model, revision)


class _CLIP:
    """A CLIPModel and its processor."""

    def __init__(self, model: str, revision: str | None) -> None:
        from transformers import CLIPProcessor

        self._name, self._device = model, "cpu"
        folder = pack.model_folder("clip") if model == "pack" else Path(model).expanduser()
        try:
            if not folder.is_dir():
                remedy = "download it first and name its folder, or set renderer.judge=null"
                folder = hub.snapshot("renderer.judge", model, revision, FILES, _check_files, remedy)
            _check_files(folder)
            self._model = _open(folder, self._device)
            self._processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
        except (modelfiles.Incomplete, OSError, ValueError) as error:
            raise VegasError(
                f"renderer.judge={model} cannot be opened ({first_line(error)}); set renderer.judge=null"
            ) from error

    @contextlib.contextmanager
    def on(self, device: str) -> Iterator[Self]:
        """Itself, on a device during the block."""
        try:
            self._device = device
            self._model.to(device)
            yield self
        finally:
            self._model.to("cpu")

    @torch.no_grad()
    def pictures(self, paths: Sequence[Path], batch: int = BATCH) -> Tensor:
        """Features ``[N, F]`` of pictures."""
        parts = [torch.zeros(0, self._model.config.projection_dim)]
        for start in range(0, len(paths), batch):
            images = [picture_file.read(path).convert("RGB") for path in paths[start : start + batch]]
            inputs = self._processor(images=images, return_tensors="pt").to(self._device)
            features = self._model.get_image_features(**inputs).pooler_output.float().cpu()
            if not features.isfinite().all():
                raise VegasError(
                    f"renderer.judge={self._name} gives values that are not finite; its weights may be damaged: copy "
                    "them again, or set renderer.judge=null"
                )
            parts.append(features)
        return torch.cat(parts)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Directions ``[N, F]`` of texts."""
        inputs = self._processor(text=list(texts), return_tensors="pt", padding=True, truncation=True).to(self._device)
        return nn.functional.normalize(self._model.get_text_features(**inputs).pooler_output.float().cpu(), dim=1)
