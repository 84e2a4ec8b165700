"""What a checkpoint's header says about its network: how to build it, and which spaces it maps between.

A file is loaded by what its header says, not by what the configuration of the current run happens to be.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from vegas_fl.algorithm.adapter import AdapterShape
from vegas_fl.core.errors import VegasError, explained

T = TypeVar("T")
Size = Annotated[int, Field(ge=1, le=10**6)]

PLACES = {"checkpoint_dir": "", "local_checkpoint_dir": None}
"""Settings that name folders of one machine, and the values that replace them in a header: the same training gives the
same file on any machine, and a node does not reveal its folders."""


@dataclass(frozen=True)
class Spaces:
    """The audio embeddings and text targets that an adapter maps between: their shapes and fingerprints.

    Two checkpoints work together only if their spaces are equal.
    """

    audio_tokens: Size  # S of an audio embedding [S, D]
    audio_width: Size  # D
    clip_width: Size  # P of CLIP's pooled vector [P]
    t5_tokens: Size  # T of T5's tokens [T, C]
    t5_width: Size  # C
    audio: str  # fingerprint of the audio encoder
    text: str  # fingerprint of the text encoders

    @property
    def shape(self) -> AdapterShape:
        """The shapes, without the fingerprints."""
        return AdapterShape(self.audio_tokens, self.audio_width, self.clip_width, self.t5_tokens, self.t5_width)


def config_to_header(config: BaseModel) -> dict[str, Any]:
    """The settings of a network as a header stores them, without folders (:data:`PLACES`)."""
    return {key: PLACES.get(key, value) for key, value in config.model_dump(mode="json").items()}


def entry(key: str, kind: TypeAdapter[T], header: Mapping[str, Any], origin: str) -> T:
    """An entry of a header, of type ``kind``; ``origin`` names its file or message in errors.

    Raises
    ------
    VegasError
        The entry is missing or invalid: another version of the program, or another program, wrote the header.
    """
    try:
        return kind.validate_json(json.dumps(header.get(key)), strict=True)
    except ValidationError as error:
        raise VegasError(
            f"{origin} was written by another version of vegas-fl (invalid {key}: {explained(error)}); train it again"
        ) from error


@contextlib.contextmanager
def building(origin: str) -> Iterator[None]:
    """A block that builds the network a header describes; sizes that no network has are a :class:`VegasError`."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError, AssertionError) as error:
        raise VegasError(
            f"{origin} describes a network that cannot be built ({str(error).partition(chr(10))[0]}); train it again"
        ) from error
