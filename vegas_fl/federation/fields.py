"""The types of the fields of messages, each with a bound."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from vegas_fl.core.names import shown


def _bounded_or_nan(value: float) -> float:
    if abs(value) > 1e15:
        raise ValueError("expected a number between -1e15 and 1e15, or NaN")
    return value


Count = Annotated[int, Field(ge=0, le=10**7)]
Size = Annotated[int, Field(ge=1, le=10**6)]
Round = Annotated[int, Field(ge=0, le=10**6)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Finite = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
Loss = Annotated[float, AfterValidator(_bounded_or_nan)]
"""May be NaN: the loss of a training of zero epochs."""
NodeId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Label = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(shown)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w .,:()-]+$")]
Hash = Annotated[str, Field(max_length=128, pattern=r"^[ -~]*$")]
Text = Annotated[str, Field(max_length=2000), AfterValidator(shown)]
Place = Annotated[str, Field(max_length=4096), AfterValidator(shown)]
Notes = Annotated[list[Text], Field(max_length=1000)]
Clips = Annotated[dict[Label, Count], Field(max_length=10_000)]
"""Class → number of clips."""
Training = Annotated[dict[Name, Loss], Field(max_length=32)]
"""Figures of a training, by name."""
Figures = Annotated[dict[Name, Finite | None], Field(max_length=64)]
"""Figures by name; None where there are too few clips for one."""
Confusion = Annotated[list[Annotated[list[Count], Field(max_length=10_000)]], Field(max_length=10_000)]
"""Counts ``[K, K]``: row = true class, column = predicted class."""
Resamples = Annotated[list[Finite], Field(max_length=1000)]
"""A sum over clips in each resample of a bootstrap; empty from nodes that do not resample."""
Header = dict[str, Any]
"""Header of a checkpoint, which says how to build its network (:mod:`vegas_fl.storage.headers`)."""
