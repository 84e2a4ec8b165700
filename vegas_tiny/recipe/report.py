"""Measure the pack, compare it with its bars, and write the results into the model card."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import FluxPipeline
from PIL import Image
from transformers import CLIPModel, CLIPTokenizer, pipeline

import vegas_tiny
from vegas_tiny import MODELS
from vegas_tiny.recipe import autoencoder, flux, judge, recognition
from vegas_tiny.recipe.icons import UNSEEN, Atlas, class_batch, load_atlas, place, place_gently, sheet
from vegas_tiny.recipe.table import NAMES, TEMPLATES, WORDS
from vegas_tiny.recipe.text import T5_LENGTH

SEEDS = 25  # pictures of each class
STEPS = 4
BATCH = 50
BEGIN, END = "<!-- report: begin -->", "<!-- report: end -->"
PICKLES = {".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"}
LOADING = """
import sys, time
from pathlib import Path
import torch
from diffusers import FluxPipeline
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPProcessor
FluxPipeline, CLIPModel, CLIPProcessor
begin, folder = time.perf_counter(), Path(sys.argv[1])
load_file(folder / "yamnet" / "yamnet.safetensors")
FluxPipeline.from_pretrained(folder / "flux")
CLIPModel.from_pretrained(folder / "clip")
CLIPProcessor.from_pretrained(folder / "clip")
print(time.perf_counter() - begin)
"""


@dataclass(frozen=True)
class Result:
    """One line of the report. Without a bar, `bar` is empty and `met` is None."""

    what: str
    bar: str
    measured: str
    met: bool | None = None


@dataclass
class Embeddings:
    """The canonical prompts' embeddings: `tokens` `[16, T, C]`, `pooled` `[16, P]`."""

    tokens: torch.Tensor
    pooled: torch.Tensor

    def of(self, classes: torch.Tensor) -> "Embeddings":
        """The embeddings of the given class indices."""
        return Embeddings(self.tokens[classes], self.pooled[classes])


def report(out: Path, work: Path) -> list[Result]:
    """Measure the pack in `out`, print the table, and write table and contact sheet into its model card."""
    atlas = load_atlas(work)
    rows = [*files(out), *reconstruction(out, atlas), *judging(out, atlas), *rendering(out, atlas), *recordings()]
    if out.resolve() == Path(vegas_tiny.__file__).parent:
        rows.append(demo())
    table = markdown(rows)
    print(table)
    card = out / "README.md"
    if card.is_file():
        content = card.read_text(encoding="utf-8")
        head, rest = content.split(BEGIN, 1)
        tail = rest.split(END, 1)[1]
        card.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}", encoding="utf-8")
    return rows


def markdown(rows: list[Result]) -> str:
    """The results as a Markdown table."""
    words = {True: "yes", False: "**no**", None: ""}
    lines = ["| what | bar | measured | met |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {r.what} | {r.bar} | {r.measured} | {words[r.met]} |" for r in rows])


def files(out: Path) -> list[Result]:
    """Size, pickles, loading time."""
    content = [path for name in MODELS for path in (out / name).rglob("*") if path.is_file()]
    content += [path for path in (out / "README.md", out / "sheet.png") if path.is_file()]
    size = sum(path.stat().st_size for path in content) / 1e6
    pickles = [path.name for path in content if path.suffix in PICKLES or path.read_bytes()[:2] == b"\x80\x02"]
    done = subprocess.run([sys.executable, "-c", LOADING, str(out)], capture_output=True, text=True, check=True)
    seconds = float(done.stdout.split()[-1])
    return [
        Result("size of the pack", "≤ 20 MB", f"{size:.2f} MB", size <= 20),
        Result("files that are pickles", "none", ", ".join(pickles) or "none", not pickles),
        Result("loading all three (after the imports)", "< 4 s", f"{seconds:.2f} s", seconds < 4),
    ]


def reconstruction(out: Path, atlas: Atlas) -> list[Result]:
    """The autoencoder on icons held back from its training, and on those of the classes."""
    model = flux.load(out / "flux").vae
    unseen = autoencoder.unseen_pictures(atlas)
    error = autoencoder.absolute_error(model, unseen)
    generator = torch.Generator().manual_seed(3)
    chosen, labels = class_batch(atlas, atlas.where(atlas.drawn), 256, generator)
    own = autoencoder.absolute_error(model, place(atlas.rgba[chosen], labels, generator))
    return [
        Result(
            f"autoencoder: mean absolute error, {len(unseen)} unseen icons", "≤ 0.06", f"{error:.4f}", error <= 0.06
        ),
        Result("autoencoder: the same, new placements of the classes' icons", "", f"{own:.4f}"),
    ]


def judging(out: Path, atlas: Atlas) -> list[Result]:
    """The judge on the style held back from its training, and on the others; mean over classes."""
    look = Judge(out / "clip")
    generator = torch.Generator().manual_seed(4)
    unseen = atlas.unseen_style & (atlas.labels >= 0)
    rows = []
    for what, mask, bar in (
        ("the renderer's icons", unseen & atlas.shown, 0.9),
        ("all the classes' icons", unseen, None),
        ("styles it trained on, all the classes' icons", (atlas.labels >= 0) & ~atlas.unseen_style, None),
    ):
        icons = atlas.where(mask).repeat(8)
        pictures = place(atlas.rgba[icons], atlas.labels[icons], generator)
        right = judge.classify(look.model, look.words, pictures) == atlas.labels[icons]
        classes = [right[atlas.labels[icons] == k].float().mean() for k in atlas.labels[icons].unique()]
        score = float(torch.stack(classes).mean())
        style = f"unseen style ({UNSEEN}), " if bar or "styles" not in what else ""
        rows.append(
            Result(
                f"judge: top-1 of 16, {style}{what}",
                f"≥ {bar:.2f}" if bar else "",
                f"{score:.3f}",
                score >= bar if bar else None,
            )
        )
    return rows


def recordings() -> list[Result]:
    """How well the pack's YAMNet recognises the toy recordings."""
    result = recognition.report()
    shares = result["recognised"]
    least = min(shares, key=lambda label: shares[label])
    nearest = result["nearest_mean"]
    variety = result["variety"]
    return [
        Result(
            "toy recordings: classes that YAMNet recognises in at least half of 50 clips",
            "≥ 7 of 10",
            f"{result['classes_recognised']} (least: {least} {shares[least]:.2f})",
            result["classes_recognised"] >= 7,
        ),
        Result("toy recordings: nearest class mean", "≥ 0.97", f"{nearest:.3f}", nearest >= 0.97),
        Result(
            "toy recordings: distance within a class, share of that to other classes",
            "differ",
            f"{min(variety.values()):.2f} to {max(variety.values()):.2f}",
            min(variety.values()) > 0.1,
        ),
    ]


def demo() -> Result:
    """The pictures of the default run: sounds, generators, distilled adapter, renderer."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "vegas_fl"], cwd=folder, check=True)
        lines = (Path(folder) / "runs" / "demo" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    figures = [entry for line in lines if (entry := json.loads(line))["stage"] == "judge"][-1]
    right, among = figures["accuracy"], len(figures["classes"])
    return Result(f"pictures of `make demo` judged right among {among} classes", "≥ 0.9", f"{right:.3f}", right >= 0.9)


def embeddings(pipe: FluxPipeline) -> Embeddings:
    """The canonical class prompts through the pipeline's own text encoders."""
    prompts = [TEMPLATES[0].format(WORDS[name]) for name in NAMES]
    tokens, pooled, _ = pipe.encode_prompt(prompts, None, max_sequence_length=T5_LENGTH)
    return Embeddings(tokens, pooled)


def render(pipe: FluxPipeline, given: Embeddings, steps: int = STEPS, seed: int = 0) -> list[Image.Image]:
    """One picture for each row of embeddings, each with its own seed."""
    images: list[Image.Image] = []
    for start in range(0, len(given.pooled), BATCH):
        part = slice(start, start + BATCH)
        count = len(given.pooled[part])
        images += pipe(
            prompt_embeds=given.tokens[part],
            pooled_prompt_embeds=given.pooled[part],
            height=64,
            width=64,
            guidance_scale=0.0,
            num_inference_steps=steps,
            generator=[torch.Generator().manual_seed(seed + start + i) for i in range(count)],
        ).images
    return images


class Judge:
    """The pack's CLIP."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = CLIPModel.from_pretrained(folder).eval()
        self.words = CLIPTokenizer.from_pretrained(folder)

    def __call__(self, images: list[Image.Image]) -> torch.Tensor:
        """Class index of each picture, `[B]`; the same as `zero_shot`, but faster."""
        return judge.classify(self.model, self.words, pixels(images))

    def zero_shot(self, images: list[Image.Image]) -> torch.Tensor:
        """Class index of each picture, `[B]`, through transformers' zero-shot pipeline."""
        labels = [WORDS[name] for name in NAMES]
        answers = pipeline("zero-shot-image-classification", model=str(self.folder))(images, candidate_labels=labels)
        return torch.tensor([labels.index(answer[0]["label"]) for answer in answers])


def rendering(out: Path, atlas: Atlas) -> list[Result]:
    """The renderer: accuracy by class, number of steps and branch; variety, speed, smoothness. Saves the sheet."""
    pipe = flux.load(out / "flux")
    look = Judge(out / "clip")
    prompts = embeddings(pipe)
    classes = torch.arange(len(NAMES)).repeat_interleave(SEEDS)
    given = prompts.of(classes)
    images = render(pipe, given)
    verdicts = look.zero_shot(images)
    save_sheet(images, out / "sheet.png")
    score = float((verdicts == classes).float().mean())
    rows = [
        Result(
            f"pictures from class prompts judged right, {STEPS} steps, {len(images)} pictures",
            "≥ 0.95",
            f"{score:.3f}",
            score >= 0.95,
        )
    ]
    each = [(verdicts[classes == k] == k).float().mean().item() for k in range(len(NAMES))]
    weak = ", ".join(f"{name} {value:.2f}" for name, value in zip(NAMES, each, strict=True) if value < 0.95)
    rows.append(Result("classes below 0.95", "", weak or "none"))
    for steps in (1, 2, 8):
        right = (look(render(pipe, given, steps)) == classes).float().mean()
        rows.append(Result(f"the same, {steps} step{'s' * (steps > 1)}", "", f"{right:.3f}"))
    nothing = torch.zeros_like
    for what, only in (
        ("T5 only (CLIP zero)", Embeddings(given.tokens, nothing(given.pooled))),
        ("CLIP only (T5 zero)", Embeddings(nothing(given.tokens), given.pooled)),
    ):
        right = (look(render(pipe, only)) == classes).float().mean()
        rows.append(Result(f"the same, {what}", "", f"{right:.3f}"))
    rows += [variety(images, classes, atlas), speed(pipe, given), *smoothness(pipe, look, prompts)]
    return rows


def variety(images: list[Image.Image], classes: torch.Tensor, atlas: Atlas) -> Result:
    """Mean distance between two pictures of a class, as a share of that between training pictures."""
    generator = torch.Generator().manual_seed(6)
    drawn = pixels(images)
    ratios = []
    for k in range(len(NAMES)):
        pool = atlas.where(atlas.drawn & (atlas.labels == k))
        chosen = pool[torch.randint(len(pool), (100,), generator=generator)]
        training = place_gently(atlas.rgba[chosen], atlas.labels[chosen], generator)
        ratios.append(distance(drawn[classes == k]) / distance(training))
    mean, lowest = sum(ratios) / len(ratios), min(ratios)
    name = NAMES[ratios.index(lowest)]
    return Result(
        "distance between seeds, share of the training pictures'",
        "≥ 0.5",
        f"{mean:.2f} (least: {name} {lowest:.2f})",
        mean >= 0.5,
    )


def distance(pictures: torch.Tensor) -> float:
    """Mean Euclidean distance over all pairs of `[B, 3, H, W]`."""
    return float(torch.pdist(pictures.flatten(1)).mean())


def pixels(images: list[Image.Image]) -> torch.Tensor:
    """Pillow images as `[B, 3, H, W]` in [−1, 1]."""
    flat = [torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8) for image in images]
    width, height = images[0].size
    return torch.stack(flat).view(-1, height, width, 3).permute(0, 3, 1, 2).float() / 127.5 - 1


def speed(pipe: FluxPipeline, given: Embeddings) -> Result:
    """Seconds for 200 pictures on two threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        begin = time.perf_counter()
        render(pipe, Embeddings(given.tokens[:200], given.pooled[:200]))
        seconds = time.perf_counter() - begin
    finally:
        torch.set_num_threads(threads)
    return Result("200 pictures on two cores", "≤ 10 s", f"{seconds:.1f} s", seconds <= 10)


def smoothness(pipe: FluxPipeline, look: Judge, prompts: Embeddings) -> list[Result]:
    """Accuracy halfway between the embeddings of two classes, and near those of one."""
    generator = torch.Generator().manual_seed(7)
    first, second = torch.combinations(torch.arange(len(NAMES))).repeat(2, 1).T
    between = Embeddings(
        (prompts.tokens[first] + prompts.tokens[second]) / 2, (prompts.pooled[first] + prompts.pooled[second]) / 2
    )
    verdicts = look(render(pipe, between, seed=1000))
    halfway = float(((verdicts == first) | (verdicts == second)).float().mean())
    classes = torch.arange(len(NAMES)).repeat_interleave(12)
    near = prompts.of(classes)
    noisy = Embeddings(*(disturbed(value, generator) for value in (near.tokens, near.pooled)))
    close = float((look(render(pipe, noisy, seed=2000)) == classes).float().mean())
    return [
        Result("halfway between two classes: judged as one of the two (all pairs, twice)", "most", f"{halfway:.3f}"),
        Result("class embeddings with 10 % noise: judged as the class", "≥ 0.95", f"{close:.3f}", close >= 0.95),
    ]


def disturbed(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """`value` plus Gaussian noise; the deviation is a tenth of the root mean square of `value`."""
    return value + 0.1 * value.square().mean().sqrt() * torch.randn(value.shape, generator=generator)


def save_sheet(images: list[Image.Image], path: Path, across: int = 6) -> None:
    """Save a contact sheet: six seeds of each class, two classes in a row, in the order of `NAMES`."""
    chosen = [images[k * SEEDS + i] for k in range(len(NAMES)) for i in range(across)]
    sheet(chosen, 2 * across).save(path, optimize=True)
