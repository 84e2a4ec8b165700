"""The judge: classification as transformers' pipeline does it, CLIP score and FID as they are defined."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from transformers import CLIPModel, CLIPProcessor, pipeline

import vegas_tiny
from vegas_fl.algorithm import metrics
from vegas_fl.config import compose
from vegas_fl.core.errors import VegasError
from vegas_fl.core.seeds import generator
from vegas_fl.data.classes import VEGAS, prompt, words
from vegas_fl.rendering.folder import Picture
from vegas_fl.rendering.jobs import Job
from vegas_fl.rendering.judge import distances, judge, judge_job, reference_pictures

CLASSES = sorted(VEGAS)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """Tiles of the pack's contact sheet, claimed to be of one class after the other."""
    folder = tmp_path_factory.mktemp("pictures")
    made = []
    with Image.open(Path(vegas_tiny.__file__).parent / "sheet.png") as sheet:
        for i in range(60):
            label = CLASSES[i % 3]
            path = folder / f"{label}_{i:04d}.png"
            sheet.crop((64 * (i % 8), 64 * (i // 8), 64 * (i % 8 + 1), 64 * (i // 8 + 1))).save(path)
            made.append((path, label))
    return made


def test_the_judge_agrees_with_transformers(pictures: list[tuple[Path, str]]) -> None:
    found = judge(pictures, CLASSES, "pack", "cpu")
    folder = vegas_tiny.path("clip")
    images = []
    for path, _ in pictures:
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    answers = pipeline("zero-shot-image-classification", model=str(folder))(
        images, candidate_labels=[words(name) for name in CLASSES]
    )
    taken = torch.tensor([[words(name) for name in CLASSES].index(answer[0]["label"]) for answer in answers])
    made = torch.tensor([CLASSES.index(label) for _, label in pictures])
    assert torch.equal(found.confusion, metrics.confusion(made, taken, len(CLASSES)))
    assert len(found.confusion.nonzero()) > 3  # the tiles are of more classes than they are claimed to be

    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    inputs = processor(text=[prompt(n) for n in CLASSES], images=images, return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = model(**inputs).logits_per_image / model.logit_scale.exp()
    own = 100 * logits[torch.arange(len(made)), made].clamp(min=0)
    torch.testing.assert_close(found.clip_scores, own, rtol=1e-4, atol=1e-3)
    assert own.min() == 0 < own.max()  # a cosine below 0 counts as 0


def fid(made: list[torch.Tensor], real: torch.Tensor) -> float:
    return distances(made, real)["fid"]


def torchmetrics_fid(made: torch.Tensor, real: torch.Tensor) -> float:
    features = torch.nn.Identity()
    features.num_features = real.shape[1]  # type: ignore[assignment]
    metric = FrechetInceptionDistance(feature=features)
    metric.update(real.double(), real=True)
    metric.update(made.double(), real=False)
    return float(metric.compute())


@pytest.mark.parametrize(("pictures", "width"), [(40, 64), (300, 64), (700, 512)])
def test_fid_is_that_of_torchmetrics(pictures: int, width: int) -> None:
    real = torch.randn(pictures, width, generator=generator("real"))
    made = 0.2 + 1.1 * torch.randn(pictures - 7, width, generator=generator("made"))
    assert fid([made], real) == pytest.approx(torchmetrics_fid(made, real), rel=1e-4)
    assert fid([made[:1], made[1:30], made[30:]], real) == pytest.approx(fid([made], real), rel=1e-9)
    assert fid([real], real) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("width", [16, 512])
def test_kid_is_that_of_torchmetrics(width: int) -> None:
    real = torch.rand(60, width, generator=generator("real"))
    made = 1.2 * torch.rand(60, width, generator=generator("made"))
    features = torch.nn.Identity()
    features.num_features = width  # type: ignore[assignment]
    whole = KernelInceptionDistance(feature=features, subsets=1, subset_size=60)
    whole.update(real.double(), real=True)
    whole.update(made.double(), real=False)
    assert distances([made[:9], made[9:]], real)["kid"] == pytest.approx(float(whole.compute()[0]), rel=1e-5)
    subsets = KernelInceptionDistance(feature=features, subsets=300, subset_size=30)
    subsets.update(real.double(), real=True)
    subsets.update(made[:40].double(), real=False)
    mean, deviation = map(float, subsets.compute())
    assert abs(distances([made[:40]], real)["kid"] - mean) < deviation / 3
    same = distances([real[:20]], real[20:])["kid"], distances([real[:20]], real[20:])["fid"]
    assert abs(same[0]) < abs(distances([made[:20]], real[20:])["kid"]) / 3 and same[1] > 0.1  # FID is biased


def test_fid_of_pictures_is_that_of_torchmetrics(pictures: list[tuple[Path, str]]) -> None:
    features = judge(pictures, CLASSES, "pack", "cpu").features
    for made, real in ((features[:25], features[25:]), (features[::2], features[1::2])):
        assert fid([made], real) == pytest.approx(torchmetrics_fid(made, real), rel=1e-4)
    with pytest.raises(VegasError, match="at least two pictures"):
        fid([features[:1]], features)


def test_real_pictures_lie_in_a_folder_a_class_or_in_one(tmp_path: Path) -> None:
    flat, nested = tmp_path / "flat", tmp_path / "nested"
    for path in (flat / "a.png", flat / "b.JPG", flat / "notes.txt", flat / "deeper" / "c.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for path in (nested / "dog/img/1.jpg", nested / "dog/img/2.jpg", nested / "cat/1.png", nested / "car/1.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [p.name for p in reference_pictures(flat, ["dog", "cat"])] == ["a.png", "b.JPG"]
    found = [str(p.relative_to(nested)) for p in reference_pictures(nested, ["dog", "cat"])]
    assert found == ["cat/1.png", "dog/img/1.jpg", "dog/img/2.jpg"]
    (nested / "dog").rename(nested / unicodedata.normalize("NFD", "café"))
    assert len(reference_pictures(nested, ["café"])) == 2
    with pytest.raises(VegasError, match="has folders for cat, but none for hen"):
        reference_pictures(nested, ["cat", "hen"])
    with pytest.raises(VegasError, match="has 1 pictures .* at least 2"):
        reference_pictures(nested, ["cat"])
    with pytest.raises(VegasError, match="is not a folder"):
        reference_pictures(tmp_path / "nowhere", ["dog"])


def test_a_judge_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(VegasError, match="cannot be opened .* renderer.judge=null"):
        judge([], CLASSES, str(tmp_path), "cpu")


def test_memory_that_runs_out_halves_the_batch_and_never_undoes_pictures(
    pictures: list[tuple[Path, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = judge(pictures, CLASSES, "pack", "cpu")
    real, seen = CLIPModel.get_image_features, []

    def scarce(self: CLIPModel, pixel_values: torch.Tensor, **options: object) -> object:
        seen.append(len(pixel_values))
        if len(pixel_values) > limit:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return real(self, pixel_values, **options)

    monkeypatch.setattr(CLIPModel, "get_image_features", scarce)
    limit = 20
    halved = judge(pictures, CLASSES, "pack", "cpu")
    assert torch.equal(halved.confusion, whole.confusion) and 13 in seen
    limit = 0
    job = Job("0", pictures[0][0].parent, [Picture(CLASSES[1], 1, 0)], lambda part: None, {}, {})  # type: ignore[arg-type, return-value]
    found, features, notes = judge_job(job, compose(["images.judge_classes=[cat]"]), "cpu")
    assert found is None and features is None and "the pictures were not judged: Out of memory" in notes[0]


def test_pictures_are_compared_with_the_frames_of_their_recordings(
    pictures: list[tuple[Path, str]], tmp_path: Path
) -> None:
    drawn = [Picture(CLASSES[i], 1, i, f"{i}" * 64) for i in range(3)]
    for picture, (path, _) in zip(drawn, pictures, strict=False):
        (tmp_path / picture.name).write_bytes(path.read_bytes())
    frames = {"0" * 64: tmp_path / drawn[0].name, "1" * 64: tmp_path / "frame.png"}  # the third has none
    frames["1" * 64].write_bytes(pictures[7][0].read_bytes())
    job = Job("0", tmp_path, drawn, lambda part: None, {}, {}, {}, frames)  # type: ignore[arg-type, return-value]
    config = compose([f"images.judge_classes=[{', '.join(CLASSES)}]"])
    found, _, notes = judge_job(job, config, "cpu")
    seen = judge([pictures[1], pictures[7]], CLASSES, "pack", "cpu").features
    cosine = float(torch.nn.functional.cosine_similarity(seen[0], seen[1], dim=0))
    assert found and found["frames"] == 2 and not notes
    assert found["image_similarity"] == pytest.approx(1 + cosine, abs=1e-4)
    frames["1" * 64].write_bytes(b"")
    found, _, notes = judge_job(job, config, "cpu")
    assert found and "frames" not in found and "<class>/img/ cannot be read" in notes[0]
