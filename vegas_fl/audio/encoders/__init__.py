"""Audio encoders: from a clip's samples to its audio embedding ``[S, D]``. One interface, one file for each."""

from vegas_fl.audio.encoders.base import AudioEncoder
from vegas_fl.config import EncoderConfig


def load_encoder(config: EncoderConfig, device: str = "cpu") -> AudioEncoder:
    """Load the encoder ``config`` names.

    Raises
    ------
    VegasError
        Its files are missing, or it cannot produce that number of ``tokens``.
    """
    if config.name == "yamnet":
        from vegas_fl.audio.encoders import yamnet

        return yamnet.YamNetEncoder(yamnet.locate(config.model), config.tokens, device)
    from vegas_fl.audio.encoders import ast

    return ast.AstEncoder(ast.locate(config.model, config.revision), config.tokens, device, config.batch_size)


def fingerprint(config: EncoderConfig) -> str:
    """The encoder's fingerprint, without loading its network. Only embeddings with equal fingerprints may be mixed."""
    if config.name == "yamnet":
        from vegas_fl.audio.encoders import yamnet

        return yamnet.fingerprint(yamnet.locate(config.model), config.tokens)
    from vegas_fl.audio.encoders import ast

    return ast.fingerprint(ast.locate(config.model, config.revision), config.tokens)


def shape(config: EncoderConfig) -> tuple[int, int]:
    """S and D of the encoder's audio embeddings, without loading its network."""
    if config.name == "yamnet":
        from vegas_fl.audio.encoders import yamnet

        return config.tokens, yamnet.WIDTH
    from vegas_fl.audio.encoders import ast

    return config.tokens, ast.width(ast.locate(config.model, config.revision))
