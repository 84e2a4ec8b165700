"""What a page is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from vegas_fl.runs.report.table import number


@dataclass
class Table:
    """Rows of cells; the first ``words`` columns are text, the others figures; rows in ``strong`` are bold."""

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: list[Sequence[str]]
    words: int = 1
    strong: set[int] = field(default_factory=set)
    groups: Sequence[tuple[str, int]] = ()
    id: str = ""


@dataclass
class Figure:
    """A picture with a caption; without an address, ``alt`` says why there is none."""

    caption: str
    alt: str
    uri: str = ""
    width: int | None = None
    height: int | None = None


@dataclass
class Figures:
    """Pictures side by side: ``plots`` wrap, ``strips`` share the width."""

    kind: ClassVar[str] = "figures"
    figures: list[Figure]
    style: str = "plots"
    title: str = ""


@dataclass
class Fold:
    """Blocks that open on demand."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: list[Any]


@dataclass
class Verbatim:
    """Text as it is."""

    kind: ClassVar[str] = "verbatim"
    text: str


@dataclass
class Hint:
    """A sentence."""

    kind: ClassVar[str] = "hint"
    text: str


Block = Table | Figures | Fold | Verbatim | Hint


@dataclass
class Section:
    """A heading and what is under it."""

    id: str
    title: str
    blocks: list[Block]


def drawn(caption: str, alt: str, draw: Callable[[], str], notes: list[str]) -> Figure:
    """A figure; if it cannot be drawn from what the run left, a note says so."""
    try:
        return Figure(caption, alt, draw())
    except Exception as error:  # whatever damaged metrics can hold
        notes.append(f"The figure “{caption}” could not be drawn ({type(error).__name__}: {error}).")
        return Figure(caption, "There is no figure: see the notes.")


def without_empty_columns(table: Table) -> Table:
    """The table without columns of figures in which no row has any."""
    dash = number(None)
    kept = [k for k in range(len(table.head)) if k < table.words or any(row[k] != dash for row in table.rows)]
    table.head = [table.head[k] for k in kept]
    table.rows = [[row[k] for k in kept] for row in table.rows]
    return table


def size(count: float) -> str:
    """Bytes in words: 1.2 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.{1 if count < 100 * scale else 0}f} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """Seconds in words: 2 min 05 s."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
