"""The outcome of an import."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Import:
    """An experiment, and sentences about how it was made."""

    groups: dict[str, str] = field(default_factory=dict)  # choices of groups: data, aggregation, …
    values: dict[str, Any] = field(default_factory=dict)  # nested values of the experiment
    taken: list[str] = field(default_factory=list)  # sentences: what was taken over
    notes: list[str] = field(default_factory=list)  # what no longer has to be set
    unsupported: list[str] = field(default_factory=list)  # what has no counterpart
    suspicious: list[str] = field(default_factory=list)  # what looks wrong in the file

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
