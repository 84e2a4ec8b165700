"""What every data set offers: clips by class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vegas_fl.audio.clips import Clip, passed_over


class Dataset:
    """Clips by class, as a reader has found them."""

    _clips: Mapping[str, Sequence[Clip]]
    _folders: Mapping[str, Path] = {}
    """The folders of the classes, where each has one of its own."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that have clips, sorted."""
        return tuple(sorted(self._clips))

    def clips(self, label: str) -> list[Clip]:
        """The clips of a class, in an order that depends only on their names; none for an unknown class.

        Raises
        ------
        VegasError
            Clips that the data set lists are missing.
        """
        return list(self._clips.get(label, []))

    def passed_over(self, label: str) -> list[str]:
        """Files that seem to belong to a class but are not among its clips, as sentences."""
        return passed_over(self._folders[label]) if label in self._folders else []
