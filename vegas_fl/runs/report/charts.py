"""The charts of a page: matplotlib figures as SVG in ``data:`` URIs.

A chart depends only on its values, not on when or where it is made. Its ink is the page's text colour, light or
dark, and class names are never read as markup or mathematics.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#3d85c6", "#e08a2e", "#35a37b", "#b85c9e", "#8d8f97", "#c5a52d", "#c8553d", "#6d6fc4")
"""Distinct in light and in dark, and to most colour-blind readers."""
WIDTH = 5.2
"""Inches: a column of the page, and a phone."""
INK = "#123456"
"""Placeholder for the page's text colour until the SVG is written."""
NUMBERED = 15
"""A confusion matrix of up to this many classes shows its counts."""

SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "vegas-fl",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "legend.fontsize": 8,
    **{
        key: INK
        for key in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color")
    },
}


class Curve(NamedTuple):
    """A line of a chart by round; ``colour`` is an index into :data:`COLOURS`."""

    name: str
    rounds: list[int]
    values: list[float]
    colour: int
    main: bool


class Span(NamedTuple):
    """A bar of the timeline: ``row``, start and length in seconds, kind of work."""

    row: str
    start: float
    seconds: float
    kind: str


def svg(draw: Callable[..., None], *values: Any) -> str:
    """What ``draw(figure, *values)`` puts on a figure, as a ``data:`` URI."""
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    settings = {**SETTINGS, "axes.prop_cycle": cycler(color=COLOURS)}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs the font does not have
        figure = Figure(layout="constrained")
        draw(figure, *values)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    style = "<style>:root{color:#1d232b}@media(prefers-color-scheme:dark){:root{color:#dde2ea}}</style>"
    text = buffer.getvalue().replace(INK, "currentColor").replace("<defs>", f"{style}<defs>", 1)
    return data_uri(text.encode(), "image/svg+xml")


def data_uri(data: bytes, media: str) -> str:
    """``data`` as a URI that contains it."""
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


def accuracy(figure: Figure, curves: Sequence[Curve], chance: float | None) -> None:
    """Accuracy by round: the main adapters as thick lines, those they are compared with as thin ones."""
    from matplotlib.ticker import MaxNLocator

    rounds = sorted({r for curve in curves for r in curve.rounds})
    figure.set_size_inches(WIDTH, 2.9 + 0.16 * (len(curves) // 3))
    axes = figure.subplots()
    for curve in curves:
        style: dict[str, Any] = {"lw": 3, "ms": 6} if curve.main else {"lw": 1.2, "ms": 3, "ls": (0, (4, 3))}
        style |= {"color": f"C{curve.colour}", "label": _short(curve.name, 32)}
        axes.plot(curve.rounds, curve.values, marker="o", clip_on=False, **style)
    if chance:
        axes.axhline(chance, color=INK, lw=1.2, ls=":", alpha=0.8, label="chance")
    axes.set_xlim(rounds[0] - 0.4, rounds[-1] + 0.4)
    axes.set_ylim(0, 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("round")
    axes.set_ylabel("accuracy on unseen clips")
    axes.grid(axis="y")
    figure.legend(loc="outside lower center", ncols=min(4, len(curves) + 1) if len(curves) < 4 else 3)


def confusion(figure: Figure, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
    """A confusion matrix: shade = share of the row (the true class); with counts if there is room.

    Rows of classes without members are left out.
    """
    from matplotlib.patches import Rectangle

    names, size = [_short(name) for name in classes], len(counts)
    rows = [i for i, row in enumerate(counts) if sum(row)] or list(range(size))
    small = 8 if size <= NUMBERED else max(3.5, 120 / size)
    figure.set_size_inches(WIDTH, 2.2 if size <= 3 else 1.75 + 3.1 * len(rows) / size)
    axes = figure.subplots()
    for y, i in enumerate(rows):
        for x, count in enumerate(counts[i]):
            share = count / max(sum(counts[i]), 1)
            if not count:
                continue
            colour = COLOURS[0] if i == x else COLOURS[1]
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, alpha=0.1 + 0.9 * share, lw=0))
            if size <= NUMBERED:
                strong = "white" if share > 0.55 else INK
                axes.text(x, y, str(count), ha="center", va="center", fontsize=8, color=strong)
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_xticks(range(size), names, fontsize=small)
    if size > 3:
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation=60, rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), [names[i] for i in rows], fontsize=small)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    for spine in axes.spines.values():
        spine.set(visible=True, alpha=0.3)


class Dot(NamedTuple):
    """A value, the ends of a line through or from it, and what it is compared with (a bar); None: not drawn."""

    value: float | None
    line: tuple[float | None, float | None]
    bar: float | None
    main: bool = True
    labelled: bool = False
    """Whether the value is written above it."""


def dots(figure: Figure, rows: Sequence[tuple[str, dict[str, Dot]]]) -> None:
    """A panel for each measure and a row for each name: ``rows`` are (name, {measure: dot})."""
    measures = list(dict.fromkeys(measure for _, values in rows for measure in values))
    labelled = any(dot.labelled for _, values in rows for dot in values.values())
    figure.set_size_inches(WIDTH, 0.9 + (0.4 if labelled else 0.24) * len(rows))
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axes, measure in zip(panels, measures, strict=True):
        for y, (_, values) in enumerate(rows):
            if not (dot := values.get(measure)):
                continue
            colour = COLOURS[0] if dot.main else COLOURS[4]
            if dot.bar is not None:
                half = 0.14 if dot.labelled else 0.3
                axes.plot([dot.bar, dot.bar], [y - half, y + half], color=INK, lw=2, alpha=0.55)
            if None not in dot.line:
                axes.plot(dot.line, [y, y], color=colour, lw=2 if dot.labelled else 1, alpha=0.6)
            if dot.value is not None:
                axes.plot(dot.value, y, "o", ms=5, color=colour)
                if dot.labelled:
                    place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 7.5}
                    axes.annotate(f"{dot.value:.3f}", (dot.value, y), (0, 6), **place)
        axes.set_title(measure)
        axes.margins(x=0.15)
        axes.locator_params(axis="x", nbins=3)
        _rows(axes, [_short(name, 28) for name, _ in rows], 0.6)


def timeline(figure: Figure, spans: Sequence[Span]) -> None:
    """Which work was done when: a row for each kind of work, time from left to right."""
    from matplotlib.patches import Patch

    rows = list(dict.fromkeys(span.row for span in spans))
    colours = {kind: f"C{i}" for i, kind in enumerate(dict.fromkeys(span.kind for span in spans))}
    figure.set_size_inches(WIDTH, 1.0 + 0.27 * len(rows))
    axes = figure.subplots()
    for span in spans:
        axes.barh(rows.index(span.row), span.seconds, left=span.start, height=0.62, color=colours[span.kind], lw=0)
    _rows(axes, rows, 0.6)
    axes.set_xlim(0, max(span.start + span.seconds for span in spans) * 1.01 or 1)
    axes.set_xlabel("seconds")
    patches = [Patch(color=colour, label=kind) for kind, colour in colours.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(colours))


def _rows(axes: Axes, names: Sequence[str], margin: float) -> None:
    """Name the rows of a chart, the first on top, and let a grid run across them."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 1 + margin, -margin)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _short(name: str, most: int = 18) -> str:
    """``name`` with its middle left out if it is long: its end tells runs of a sweep apart."""
    return name if len(name) <= most else f"{name[: most // 3]}…{name[1 + most // 3 - most :]}"
