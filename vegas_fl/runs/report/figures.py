"""The pictures of a page: matplotlib figures as SVG in ``data:`` addresses.

Nothing in them depends on when or where they are drawn. Ink is the page's own text colour, light or dark, and
text is never markup nor mathematics, whatever a class is called.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#3d85c6", "#e08a2e", "#35a37b", "#b85c9e", "#8d8f97", "#c5a52d", "#c8553d", "#6d6fc4")
"""Told apart in light and in dark, and by most colour-blind eyes."""
WIDTH = 5.2
"""Inches: a column of the page, and a phone."""
INK = "#123456"
"""Stands for the page's text colour until the SVG is written."""
NUMBERED = 15
"""Classes up to which a confusion matrix has its counts written in."""

SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "vegas-fl",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **{
        key: INK
        for key in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color")
    },
}


class Curve(NamedTuple):
    """A line of a plot by round."""

    name: str
    rounds: list[int]
    values: list[float]
    colour: int
    main: bool


class Span(NamedTuple):
    """A bar of the timeline: ``row``, start and length in seconds, what kind of thing it is."""

    row: str
    start: float
    seconds: float
    kind: str


def accuracy(curves: Sequence[Curve], chance: float | None) -> str:
    """Accuracy by round: aggregated adapters as thick lines, what they are compared with as thin ones.

    Of a single round, bars.
    """
    rounds = sorted({r for curve in curves for r in curve.rounds})
    if len(rounds) == 1:
        return _accuracy_bars(curves, chance)

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        for curve in curves:
            style: dict[str, Any] = {"lw": 3, "ms": 6} if curve.main else {"lw": 1.2, "ms": 3, "ls": (0, (4, 3))}
            colour = COLOURS[curve.colour % len(COLOURS)]
            axes.plot(
                curve.rounds,
                curve.values,
                color=colour,
                marker="o",
                label=_short(curve.name, 32),
                clip_on=False,
                **style,
            )
        if chance:
            axes.axhline(chance, color=INK, lw=1.2, ls=":", alpha=0.8, label="chance")
        axes.set_xlim(rounds[0] - 0.4, rounds[-1] + 0.4)
        axes.set_ylim(0, 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("round")
        axes.set_ylabel("accuracy on unseen clips")
        axes.grid(axis="y", alpha=0.15)
        columns = min(4, len(curves) + 1) if len(curves) < 4 else 3
        figure.legend(loc="outside lower center", ncols=columns, fontsize=8)

    return _drawn(draw, 2.9 + 0.16 * (len(curves) // 3))


def _accuracy_bars(curves: Sequence[Curve], chance: float | None) -> str:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for y, curve in enumerate(curves):
            value = curve.values[-1]
            colour = COLOURS[curve.colour % len(COLOURS)]
            axes.barh(y, value, height=0.6, color=colour, alpha=1 if curve.main else 0.5, lw=0)
            axes.annotate(f"{value:.3f}", (value, y), (4, 0), textcoords="offset points", va="center", fontsize=8)
        if chance:
            axes.axvline(chance, color=INK, lw=1.2, ls=":", alpha=0.8, label="chance")
            figure.legend(loc="outside lower center", fontsize=8)
        axes.set_yticks(range(len(curves)), [_short(curve.name, 32) for curve in curves])
        axes.set_ylim(len(curves) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 1.12)
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
        axes.set_xlabel(f"accuracy on unseen clips, round {curves[0].rounds[-1]}")
        axes.grid(axis="x", alpha=0.15)
        axes.set_axisbelow(True)

    return _drawn(draw, 1.1 + 0.3 * len(curves))


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """A confusion matrix: shade = share of the row (the true class); counts are written in if there is room.

    Rows of classes without members are left out.
    """
    names, size = [_short(name) for name in classes], len(counts)
    rows = [i for i, row in enumerate(counts) if sum(row)] or list(range(size))
    small = 8 if size <= NUMBERED else max(3.5, 120 / size)

    def draw(figure: Figure) -> None:
        from matplotlib.patches import Rectangle

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
        axes.set_xlabel("taken for")
        axes.set_ylabel("is")
        for spine in axes.spines.values():
            spine.set(visible=True, alpha=0.3)

    return _drawn(draw, 2.2 if size <= 3 else 1.75 + 3.1 * len(rows) / size)


def quality(rows: Sequence[tuple[str, dict[str, tuple[float | None, float | None]]]]) -> str:
    """A panel a figure, a line a class: the generator's samples (dot) against real clips (bar).

    Parameters
    ----------
    rows : sequence of (class, {figure: (samples, real clips)})
    """
    figures = list(rows[0][1])

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(figures), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, figures, strict=True):
            for y, (_, values) in enumerate(rows):
                mine, real = values[name]
                if real is not None:
                    axes.plot([real, real], [y - 0.3, y + 0.3], color=INK, lw=2, alpha=0.55)
                if mine is not None and real is not None:
                    axes.plot([real, mine], [y, y], color=COLOURS[0], lw=1, alpha=0.6)
                if mine is not None:
                    axes.plot(mine, y, "o", ms=5, color=COLOURS[0])
            axes.set_title(name)
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.grid(axis="x", alpha=0.15)
            axes.margins(x=0.15)
            axes.locator_params(axis="x", nbins=3)
            axes.tick_params(axis="y", length=0)
        panels[0].set_yticks(range(len(rows)), [_short(label) for label, _ in rows])

    return _drawn(draw, 0.9 + 0.24 * len(rows))


def timeline(spans: Sequence[Span]) -> str:
    """When what was done: a row a kind of work, time from left to right."""
    rows = list(dict.fromkeys(span.row for span in spans))
    kinds = list(dict.fromkeys(span.kind for span in spans))

    def draw(figure: Figure) -> None:
        from matplotlib.patches import Patch

        axes = figure.subplots()
        for span in spans:
            colour = COLOURS[kinds.index(span.kind) % len(COLOURS)]
            axes.barh(rows.index(span.row), span.seconds, left=span.start, height=0.62, color=colour, lw=0)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, max(span.start + span.seconds for span in spans) * 1.01 or 1)
        axes.set_xlabel("seconds")
        axes.grid(axis="x", alpha=0.15)
        axes.set_axisbelow(True)
        patches = [Patch(color=COLOURS[i % len(COLOURS)], label=kind) for i, kind in enumerate(kinds)]
        figure.legend(handles=patches, loc="outside lower center", ncols=len(kinds), fontsize=8)

    return _drawn(draw, 1.0 + 0.27 * len(rows))


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _drawn(draw: Callable[[Figure], None], height: float) -> str:
    """What ``draw`` puts on a figure, as a ``data:`` address."""
    import matplotlib
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs the font does not have
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    style = "<style>:root{color:#1d232b}@media(prefers-color-scheme:dark){:root{color:#dde2ea}}</style>"
    svg = buffer.getvalue().replace(INK, "currentColor").replace("<defs>", f"{style}<defs>", 1)
    return data_uri(svg.encode(), "image/svg+xml")


def data_uri(data: bytes, media: str) -> str:
    """``data`` as an address that needs no file."""
    return f"data:{media};base64,{base64.b64encode(data).decode()}"
