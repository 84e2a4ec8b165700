"""Audio encoders: from a clip's samples to its audio embedding ``[S, D]``. One interface, one file for each."""

from collections.abc import Sequence

import numpy as np
import torch

from vegas_fl.algorithm.pooling import ATTRIBUTE_WIDTH
from vegas_fl.audio import attributes
from vegas_fl.audio.encoders.base import AudioEncoder, hash_files
from vegas_fl.config import EncoderConfig


class WithAttributes(AudioEncoder):
    """An encoder whose tokens end with the measured attributes of the clip (:func:`attributes.appended`)."""

    def __init__(self, encoder: AudioEncoder, fingerprint: str) -> None:
        self._encoder, self.fingerprint = encoder, fingerprint
        self.rate, self.tokens, self.width = encoder.rate, encoder.tokens, encoder.width + ATTRIBUTE_WIDTH

    def encode(self, waveforms: Sequence[np.ndarray]) -> torch.Tensor:
        return attributes.appended(self._encoder.encode(waveforms), waveforms, self.rate)


def load_encoder(config: EncoderConfig, device: str = "cpu") -> AudioEncoder:
    """Load the encoder ``config`` names.

    Raises
    ------
    VegasError
        Its files are missing, or it cannot produce that number of ``tokens``.
    """
    if config.attributes:
        return WithAttributes(load_encoder(_bare(config), device), fingerprint(config))
    if config.name == "yamnet":
        from vegas_fl.audio.encoders import yamnet

        return yamnet.YamNetEncoder(yamnet.locate(config.model), config.tokens, device)
    from vegas_fl.audio.encoders import ast

    return ast.AstEncoder(ast.locate(config.model, config.revision), config.tokens, device, config.batch_size)


def fingerprint(config: EncoderConfig) -> str:
    """The encoder's fingerprint, without loading its network. Only embeddings with equal fingerprints may be mixed."""
    if config.attributes:
        return hash_files((), fingerprint(_bare(config)), *attributes.SETTINGS, ATTRIBUTE_WIDTH)
    if config.name == "yamnet":
        from vegas_fl.audio.encoders import yamnet

        return yamnet.fingerprint(yamnet.locate(config.model), config.tokens)
    from vegas_fl.audio.encoders import ast

    return ast.fingerprint(ast.locate(config.model, config.revision), config.tokens)


def shape(config: EncoderConfig) -> tuple[int, int]:
    """S and D of the encoder's audio embeddings, without loading its network."""
    if config.attributes:
        tokens, width = shape(_bare(config))
        return tokens, width + ATTRIBUTE_WIDTH
    if config.name == "yamnet":
        from vegas_fl.audio.encoders import yamnet

        return config.tokens, yamnet.WIDTH
    from vegas_fl.audio.encoders import ast

    return config.tokens, ast.width(ast.locate(config.model, config.revision))


def _bare(config: EncoderConfig) -> EncoderConfig:
    return config.model_copy(update={"attributes": False})
