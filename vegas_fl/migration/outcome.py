"""The outcome of an import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Import:
    """An experiment, and sentences about how it was made.

    Attributes
    ----------
    groups : dict
        Choices of groups: data, aggregation, …
    values : dict
        Nested values of the experiment.
    taken, notes, unsupported, suspicious : list of str
        Sentences: what was taken over, what no longer has to be set, what is not supported, and what looks wrong in the
        file.
    """

    groups: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    suspicious: list[str] = field(default_factory=list)

    def put(self, key: str, value: Any, because: str) -> None:
        """Set ``a.b`` to ``value`` because of the replaced system's key ``because``."""
        *path, last = key.split(".")
        place = self.values
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
        self.taken.append(f"{because} → {key}: {value}")

    @property
    def remarks(self) -> dict[str, list[str]]:
        """The sentences beside what was taken over, by title; the last ones matter most."""
        return {"notes": self.notes, "not supported": self.unsupported, "looks wrong": self.suspicious}


def once(sentences: list[str], sentence: str) -> None:
    """Add a sentence, unless it is there."""
    if sentence not in sentences:
        sentences.append(sentence)
