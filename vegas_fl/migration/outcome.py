"""What an import comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Import:
    """The outcome.

    Attributes
    ----------
    groups : dict
        Choices of groups: data, aggregation, …
    values : dict
        Nested values of an experiment.
    taken, notes, unsupported, suspicious : list of str
        Sentences: what was taken over, what need not be said any more, what cannot be had, and what was
        (or looks) wrong in the file.
    """

    groups: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    suspicious: list[str] = field(default_factory=list)

    def put(self, key: str, value: Any, because: str) -> None:
        """Set ``a.b`` to ``value``, as ``because`` (its key there) said."""
        *path, last = key.split(".")
        place = self.values
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
        self.taken.append(f"{because} → {key}: {value}")
