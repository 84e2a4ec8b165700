"""What a page is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from vegas_fl.runs.report.charts import svg
from vegas_fl.runs.report.read import Run
from vegas_fl.runs.report.table import number


@dataclass
class Table:
    """Rows of cells; the first ``words`` columns are text, the others numbers; rows in ``strong`` are bold."""

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    strong: set[int] = field(default_factory=set)
    groups: Sequence[tuple[str, int]] = ()
    id: str = ""

    def with_runs(self, runs: Sequence[Run]) -> Self:
        """The table as it is for several runs; for one, without its first column, which names the run."""
        if len(runs) == 1:
            self.head, self.rows, self.words = self.head[1:], [row[1:] for row in self.rows], self.words - 1
        return self

    def without_empty_columns(self) -> Self:
        """The table without the columns of numbers in which every row has a dash."""
        dash = number(None)
        kept = [k for k in range(len(self.head)) if k < self.words or any(row[k] != dash for row in self.rows)]
        self.head = [self.head[k] for k in kept]
        self.rows = [[row[k] for k in kept] for row in self.rows]
        return self


@dataclass
class Figure:
    """A picture with a caption; without a URI, ``alt`` says why there is none."""

    caption: str
    alt: str
    uri: str = ""
    width: int | None = None
    height: int | None = None


@dataclass
class FigureRow:
    """Figures side by side: ``plots`` wrap, ``strips`` share the width."""

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
    """Preformatted text."""

    kind: ClassVar[str] = "verbatim"
    text: str


@dataclass
class Hint:
    """A sentence."""

    kind: ClassVar[str] = "hint"
    text: str


@dataclass
class Verdict:
    """The answer to a section's question, and the sentence that gives the reason."""

    kind: ClassVar[str] = "verdict"
    answer: str
    text: str


Block = Table | FigureRow | Fold | Verbatim | Hint | Verdict


@dataclass
class Section:
    """A heading and the blocks below it."""

    id: str
    title: str
    blocks: list[Block]


def chart(caption: str, alt: str, notes: list[str], draw: Callable[..., None], *values: Any) -> Figure:
    """A chart, ``draw(figure, *values)``; if the run's files do not allow to draw it, a note says so."""
    try:
        return Figure(caption, alt, svg(draw, *values))
    except Exception as error:  # whatever damaged metrics can hold
        notes.append(f"The figure “{caption}” could not be drawn ({type(error).__name__}: {error}).")
        return Figure(caption, "Figure not available: see the notes.")


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
