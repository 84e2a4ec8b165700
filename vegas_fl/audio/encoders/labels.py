"""Which of two classes embeddings are of, as an audio encoder's own labels have it: YAMNet names AudioSet's classes."""

import functools
import re
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from vegas_fl.audio.encoders import yamnet
from vegas_fl.config import EncoderConfig
from vegas_fl.core.errors import VegasError


def preference(
    config: EncoderConfig, fingerprint: str, words: Mapping[str, str]
) -> Callable[[str, str, Tensor], float | None]:
    """A function of two classes and embeddings ``[M, D]``: the mean logit of the first less that of the second.

    It returns None if a class is not among the labels, or the encoder has none or is not the one with ``fingerprint``;
    the encoder is read when it is called first. ``words`` are other words for each class: "a crying baby".
    """

    @functools.cache
    def head() -> tuple[dict[str, list[int]], nn.Linear] | None:
        try:
            if config.name != "yamnet" or yamnet.fingerprint(yamnet.locate(config.model), config.tokens) != fingerprint:
                return None
            names, layer = yamnet.label_head(yamnet.locate(config.model))
        except (VegasError, OSError, ValueError):
            return None
        return {label: _matching(names, (label, other)) for label, other in words.items()}, layer

    def prefer(first: str, second: str, points: Tensor) -> float | None:
        if (found := head()) is None or not found[0].get(first) or not found[0].get(second):
            return None
        logits = found[1](points)
        return (logits[:, found[0][first]].amax(1) - logits[:, found[0][second]].amax(1)).mean().item()

    return prefer


def _matching(names: list[str], terms: tuple[str, ...]) -> list[int]:
    """Labels one of whose synonyms ("Baby cry, infant cry") has all words of a term."""
    wanted = [_stems(term) for term in terms]
    return [
        i for i, name in enumerate(names) if any(w and w <= _stems(part) for part in name.split(",") for w in wanted)
    ]


def _stems(text: str) -> frozenset[str]:
    """Words without articles and plural."""
    found = re.findall(r"[^\W\d_]+", text.lower())
    return frozenset(word.removesuffix("s") if len(word) > 3 else word for word in found if word not in ("a", "an"))
