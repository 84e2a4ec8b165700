"""The judge of generated pictures: a small `CLIPModel`, trained contrastively like CLIP itself.

It learns icons and their names in eight drawing styles; a ninth style is kept for its evaluation.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

from vegas_tiny.recipe.icons import SIZE, Atlas, class_batch, place
from vegas_tiny.recipe.optimisers import Both
from vegas_tiny.recipe.schedule import Budget, cosine, train_averaged
from vegas_tiny.recipe.table import NAMES, TEMPLATES, WORDS, phrasings

WIDTH = 96
BATCH = 96
RATE = 2e-3
# The last is the template of transformers' zero-shot pipeline.
SENTENCES = (*TEMPLATES, "a photo of {}.", "this is a photo of {}.")


def new_judge(words: CLIPTokenizer) -> CLIPModel:
    """The architecture, freshly initialised: 64 patches of 8×8 pixels, 64 joint dimensions."""
    return CLIPModel(
        CLIPConfig(
            text_config={
                "vocab_size": len(words),
                "hidden_size": 64,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "max_position_embeddings": words.model_max_length,
                "bos_token_id": words.bos_token_id,
                "eos_token_id": words.eos_token_id,
                "pad_token_id": words.pad_token_id,
            },
            vision_config={
                "hidden_size": WIDTH,
                "intermediate_size": 4 * WIDTH,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "image_size": SIZE,
                "patch_size": 8,
            },
            projection_dim=64,
        )
    )


def new_processor(words: CLIPTokenizer) -> CLIPProcessor:
    """Pictures of any size to 64×64 in [−1, 1], text to tokens."""
    pictures = CLIPImageProcessorPil(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return CLIPProcessor(image_processor=pictures, tokenizer=words)


def vary_style(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Imitate other drawing styles: new hues, grey, dark outlines, blur, noise, less contrast.

    From and to `[B, 3, H, W]` in [−1, 1].
    """
    n = len(pictures)

    def some(share: float) -> torch.Tensor:
        return (torch.rand(n, 1, 1, 1, generator=generator) < share).float()

    def amount() -> torch.Tensor:
        return torch.rand(n, 1, 1, 1, generator=generator)

    grey = pictures.mean(1, keepdim=True)
    mixing = torch.eye(3) + 0.5 * torch.randn(n, 3, 3, generator=generator)
    mixing = mixing / mixing.sum(2, keepdim=True).clamp(min=0.3)
    pictures = torch.lerp(pictures, torch.einsum("nij,njhw->nihw", mixing, pictures), some(0.6))
    pictures = torch.lerp(pictures, grey.expand_as(pictures), some(0.4) * amount())
    lightness = F.pad(pictures.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    edges = F.max_pool2d(lightness, 3, 1) + F.max_pool2d(-lightness, 3, 1)
    lines = (5 * edges).clamp(0, 1)  # weak edges too: a style with outlines has them everywhere
    pictures = pictures + (1 - pictures) * some(0.3) * amount()
    pictures = pictures - (1 + pictures) * some(0.6) * (0.2 + 0.8 * amount()) * lines
    blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    pictures = torch.lerp(pictures, blurred, some(0.4) * amount())
    pictures = pictures * (1 - 0.4 * some(0.5) * amount()) + 0.3 * (amount() - 0.5) * some(0.5)
    noise = torch.randn(pictures.shape, generator=generator)
    return (pictures + 0.1 * some(0.3) * amount() * noise).clamp(-1, 1)


def captions(atlas: Atlas, chosen: torch.Tensor, generator: torch.Generator) -> list[str]:
    """A random sentence for each chosen icon: a phrasing of its class, or its name in a template."""
    sentences = []
    picks = torch.randint(1 << 20, (len(chosen), 2), generator=generator)
    for index, (first, second) in zip(chosen.tolist(), picks.tolist(), strict=True):
        label = int(atlas.labels[index])
        if label < 0:
            sentences.append(SENTENCES[first % len(SENTENCES)].format(atlas.names[index].replace("-", " ")))
        elif first % 4:  # the project's own words for the class, most of the time
            sentences.append(SENTENCES[second % len(SENTENCES)].format(WORDS[NAMES[label]]))
        else:
            options = phrasings(NAMES[label])
            sentences.append(options[second % len(options)])
    return sentences


def train(
    atlas: Atlas, words: CLIPTokenizer, budget: Budget, work: Path, seed: int = 0, resume: bool = False
) -> CLIPModel:
    """Contrastive training, in which pictures of the same class or icon name match each other's sentences."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = new_judge(words)
    optimiser = Both(model, decay=0.05)
    ours = atlas.where((atlas.labels >= 0) & ~atlas.unseen_style)
    others = atlas.where((atlas.labels < 0) & ~atlas.unseen_style & ~atlas.held)
    numbers = {name: len(NAMES) + i for i, name in enumerate(sorted(set(atlas.names)))}
    concept = torch.tensor(
        [label if label >= 0 else numbers[n] for n, label in zip(atlas.names, atlas.labels.tolist(), strict=True)]
    )

    def update(step: int, done: float) -> dict[str, float]:
        chosen = class_batch(atlas, ours, BATCH // 2, generator)[0]
        if len(others):
            chosen = torch.cat([chosen, others[torch.randint(len(others), (BATCH // 2,), generator=generator)]])
        pictures = place(atlas.rgba[chosen], atlas.labels[chosen], generator, tilt=20, zoom=0.2)
        tokens = words(captions(atlas, chosen, generator), padding=True, truncation=True, return_tensors="pt")
        logits = model(pixel_values=vary_style(pictures, generator), **tokens).logits_per_image
        match = (concept[chosen][:, None] == concept[chosen][None]).float()
        match = match / match.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits, match) + F.cross_entropy(logits.T, match)) / 2
        loss.backward()
        optimiser.step(RATE * cosine(done, step))
        model.logit_scale.data.clamp_(max=4.6)
        return {"loss": loss.item()}

    train_averaged(model, budget, work / "judge.pt", update, resume)
    return model.eval()


@torch.no_grad()
def classify(model: CLIPModel, words: CLIPTokenizer, pictures: torch.Tensor) -> torch.Tensor:
    """Class index `[B]` of each picture `[B, 3, 64, 64]`, by the sixteen classes' zero-shot sentences."""
    sentences = [SENTENCES[-1].format(WORDS[name]) for name in NAMES]
    tokens = words(sentences, padding=True, return_tensors="pt")
    return torch.cat([model(pixel_values=part, **tokens).logits_per_image.argmax(1) for part in pictures.split(256)])


def save(model: CLIPModel, words: CLIPTokenizer, folder: Path) -> None:
    """Save model and processor: half precision on disk; the config makes transformers load single precision."""
    model.half().save_pretrained(folder)
    model.float()
    config = folder / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    for part in (content, content["text_config"], content["vision_config"]):
        part["dtype"] = "float32"
    config.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    new_processor(words).save_pretrained(folder)
