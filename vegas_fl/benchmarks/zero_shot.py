"""What needs no recordings at all: the audio encoder's own AudioSet labels, zero-shot."""

from pathlib import Path

import torch
import yaml
from torch import Tensor

from vegas_fl.audio.encoders.yamnet import label_head, locate
from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError


@torch.no_grad()
def zero_shot(x: Tensor, config: Config) -> Tensor:
    """The class of each of ``x`` [N, S, 1024]: that whose AudioSet labels YAMNet finds most probable ``[N]``.

    Raises
    ------
    VegasError
        The encoder is not YAMNet.
    """
    if config.encoder.name != "yamnet":
        raise VegasError(f"encoder={config.encoder.name} has no labels of AudioSet here; use encoder=yamnet")
    names, head = label_head(locate(config.encoder.model))
    probabilities = torch.stack([head(tokens).sigmoid().mean(0) for tokens in x])
    labels = yaml.safe_load((Path(__file__).parent / "audioset.yaml").read_text("utf8"))
    position = {name: index for index, name in enumerate(names)}
    columns = [[position[name] for name in labels[label]] for label in config.classes]
    return torch.stack([probabilities[:, of].amax(1) for of in columns], 1).argmax(1)
