"""The judge of pictures: zero-shot classification by a CLIP model (Radford et al. 2021, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from vegas_fl import metrics
from vegas_fl.classes import words
from vegas_fl.errors import VegasError

BATCH = 50


def judge(pictures: Sequence[tuple[Path, str]], classes: Sequence[str], model: str, device: str) -> torch.Tensor:
    """Confusion matrix ``[K, K]`` of pictures: row = class it was made for, column = class it is taken for.

    Parameters
    ----------
    pictures : sequence of (path, class)
    classes : sequence of str
        The K classes to choose from; each is asked for in words ("This is a photo of a crying baby.").
    model : str
        "pack" for the tiny pack's CLIP, or a hub id or folder of a CLIPModel with its processor.
    device : str

    Raises
    ------
    VegasError
        The model cannot be opened.
    """
    from PIL import Image
    from transformers import pipeline

    try:
        if model == "pack":
            import vegas_tiny

            model = str(vegas_tiny.path("clip"))
        classifier = pipeline("zero-shot-image-classification", model=model, device=device)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise VegasError(f"renderer.judge={model} cannot be opened ({first}); set renderer.judge=null") from error
    candidates = {words(name): position for position, name in enumerate(classes)}
    counts = torch.zeros(len(classes), len(classes), dtype=torch.long)
    for start in range(0, len(pictures), BATCH):
        batch = pictures[start : start + BATCH]
        images = []
        for path, _ in batch:
            with Image.open(path) as image:
                images.append(image.convert("RGB"))
        answers = classifier(images, candidate_labels=list(candidates), batch_size=BATCH)
        taken = torch.tensor([candidates[answer[0]["label"]] for answer in answers])
        made = torch.tensor([classes.index(label) for _, label in batch])
        counts += metrics.confusion(made, taken, len(classes))
    return counts
