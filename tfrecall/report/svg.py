"""Panels of charts in SVG: lines, axes, ticks; on a page each is a figure, in a picture they share one SVG.

Panels are as wide as a phone, so that text keeps its size there; on a wide screen several fit side by
side. The classes `s0`, `s1`, ... of `charts.css` distinguish the series.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 18, 12, 36
# Smallest distance between tick labels, which would overlap otherwise.
_APART = 30
# Width of an average letter in units of the picture.
LETTER = 6.5
# Number of distinguishable colours; further series share the last one.
COLORS = 8

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """A named line; points that are not finite leave a gap."""

    name: str
    points: Points
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """Scale from values to positions in the picture.

    Attributes:
        low, high: ends of the values; if they are equal, the value is in the middle.
        start, stop: ends of the positions, in units of the picture; `start` > `stop` points up.
        log: whether equal ratios are equal distances; needs positive ends.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.stop - self.start), 1)


def tag(name: str, content: object = "", /, **attributes: object) -> Markup:
    """One element; content that is not markup is escaped. `class_` and `a_b` give `class`, `a-b`."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{written}>{escape(content)}</{name}>")


def joined(parts: Sequence[Markup]) -> Markup:
    """Concatenate elements."""
    return Markup("").join(parts)


@dataclass(frozen=True)
class Panel:
    """Drawing of one chart, not yet an SVG element.

    Attributes:
        label: title above the drawing.
        content: elements of the drawing; without any there is no figure.
        width, height: size in units of the drawing.
        names: series in the order of their colours, for a legend.
        dashed: which of them are dashed.
    """

    label: str
    content: Sequence[Markup]
    width: float = WIDTH
    height: float = HEIGHT
    names: Sequence[str] = ()
    dashed: Sequence[bool] = ()


def picture(
    label: str, content: Sequence[Markup], width: float = WIDTH, height: float = HEIGHT
) -> Markup:
    """SVG element that fills the width; `label` is for screen readers."""
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", joined(content), viewBox=box, role="img", aria_label=label, class_="chart")


def figure(panel: Panel) -> Markup:
    """A panel on a page, with its title and, where there are several series, a legend."""
    if not panel.content:
        return Markup("")
    drawn = picture(panel.label, panel.content, panel.width, panel.height)
    keys = [tag("span", n, class_=f"key s{min(i, COLORS - 1)}") for i, n in enumerate(panel.names)]
    legend = tag("div", joined(keys), class_="legend") if len(keys) > 1 else Markup("")
    return tag("figure", tag("figcaption", panel.label) + drawn + legend)


def line_chart(label: str, series: Sequence[Series], **options: Any) -> Markup:
    """Lines on a page, with a legend below; the options are those of `line_panel`."""
    return figure(line_panel(label, series, **options))


def line_panel(
    label: str,
    series: Sequence[Series],
    *,
    x_label: str,
    log_x: bool = False,
    x_ticks: Sequence[float] = (),
    x_text: Callable[[float], str] | None = None,
    mark: tuple[float, str] | None = None,
    bottom: float | None = None,
    text: Callable[[float], str] | None = None,
) -> Panel:
    """Lines over one horizontal axis, with grid and ticks.

    Args:
        label: title above the picture.
        series: lines; without any finite point the panel is empty.
        x_label: title of the horizontal axis.
        log_x: whether that axis is logarithmic.
        x_ticks: values of its ticks; chosen if empty.
        x_text: format of its values.
        mark: value and label of a vertical line.
        bottom: value that the vertical axis must include at its lower end; None for the smallest value.
        text: format of the values of the vertical axis.
    """
    drawn = [(i, [p for p in s.points if all(map(_finite, p))]) for i, s in enumerate(series)]
    xs, ys = ([p[axis] for _, points in drawn for p in points] for axis in (0, 1))
    if not ys:
        return Panel(label, ())
    levels = ticks(min([*ys, *([] if bottom is None else [bottom])]), max(ys))
    x = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, log_x)
    y = Axis(min(levels[0], *ys), max(levels[-1], *ys), HEIGHT - BOTTOM, TOP)
    at = [t for t in x_ticks if min(xs) <= t <= max(xs)] or ticks(min(xs), max(xs))
    at = [t for t in at if min(xs) <= t <= max(xs)]
    parts = [*grid(y, levels, x_label, text or short), *x_axis(x, at, x_text or short)]
    if mark is not None:
        parts.append(_mark(x, *mark))
    for (i, _), one in zip(drawn, series, strict=True):
        parts += _line(one, f"s{min(i, COLORS - 1)}", x, y)
    names, dashed = [one.name for one in series], [one.dashed for one in series]
    return Panel(label, parts, names=names, dashed=dashed)


def intervals(
    label: str,
    rows: Sequence[tuple[str, float, float, float]],
    *,
    about_zero: bool = True,
    text: Callable[[float], str] | None = None,
) -> Markup:
    """A row for each (name, value, low, high): a dot with whiskers.

    Args:
        label: title above the picture.
        rows: from top to bottom.
        about_zero: whether values are differences: a line marks 0, and rows are coloured that exclude it.
            Otherwise the first row is coloured.
        text: format of the values.
    """
    if not rows:
        return Markup("")
    text = text or short
    height, left = 26 * len(rows) + 34, 116
    ends = [*([0.0] if about_zero else []), *(v for _, *values in rows for v in values)]
    levels = ticks(min(ends), max(ends), 3)
    x = Axis(min(levels[0], *ends), max(levels[-1], *ends), left, WIDTH - RIGHT)
    parts = []
    for level in levels:
        kind = "zero" if about_zero and level == 0 else "grid"
        parts.append(tag("line", x1=x(level), x2=x(level), y1=6, y2=height - 24, class_=kind))
        parts.append(text_at(text(level), x(level), height - 8, "middle"))
    longest = int((left - 8) / LETTER)
    for i, (name, value, low, high) in enumerate(rows):
        y = 20 + 26 * i
        sure = "s0" if (low > 0 or high < 0 if about_zero else i == 0) else "unsure"
        called = name if len(name) <= longest else f"{name[: longest - 1]}…"
        tooltip = tag("title", f"{name}: {text(value)}, {text(low)} to {text(high)}")
        parts.append(text_at(escape(called) + tooltip, left - 8, y + 4, "end"))
        parts.append(tag("line", x1=x(low), x2=x(high), y1=y, y2=y, class_=f"line {sure}"))
        parts.append(tag("circle", tooltip, cx=x(value), cy=y, r=4, class_=f"dot {sure}"))
    return figure(Panel(label, parts, height=height))


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers from at most `low` to at least `high`.

    >>> ticks(0.03, 0.41)
    [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    """
    size = max(abs(low), abs(high))
    span = high - low
    if span <= 1e-9 * size or span < 1e-99:  # equal up to rounding: a scale around the value
        span = size if size > 1e-99 else 1.0
    raw = span / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * 0.999)
    # 0.3 / 0.1 is 2.9999999999999996: without the margin a bound that is a tick would get one more.
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # 3 * 0.1 is 0.30000000000000004: ten digits give the decimal number back.
    return [float(f"{i * step:.10g}") for i in range(first, max(last, first + 1) + 1)]


def short(value: float) -> str:
    """Format a number for an axis.

    >>> [short(v) for v in (0, 0.25, 1500, 2e6)]
    ['0', '0.25', '1.5k', '2M']
    """
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:.4g}"


def percent(value: float) -> str:
    """Format a share for an axis."""
    return f"{100 * value:g} %"


def grid(y: Axis, levels: Sequence[float], x_label: str, text: Callable[[float], str]) -> list[Markup]:
    """Level lines with their values, and the title of the horizontal axis."""
    parts = []
    for level in levels:
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(level), y2=y(level), class_="grid"))
        parts.append(text_at(text(level), LEFT - 6, y(level) + 4, "end"))
    return [*parts, text_at(x_label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "middle")]


def x_axis(x: Axis, at: Sequence[float], text: Callable[[float], str]) -> list[Markup]:
    """Values along the horizontal axis; those that would overlap the one before are left out."""
    parts: list[Markup] = []
    end = -math.inf
    for place in at:
        half = LETTER * len(text(place)) / 2
        # The first and the last value stay inside the panel.
        middle = min(max(x(place), half), WIDTH - half)
        if middle - max(half, _APART / 2) >= end:
            end = middle + max(half, _APART / 2)
            parts.append(text_at(text(place), middle, HEIGHT - BOTTOM + 15, "middle"))
    return parts


def _mark(x: Axis, at: float, label: str) -> Markup:
    place = x(at)
    anchor = "end" if place > (LEFT + WIDTH - RIGHT) / 2 else "start"
    line = tag("line", x1=place, x2=place, y1=TOP, y2=HEIGHT - BOTTOM, class_="mark")
    return line + text_at(label, place + (-5 if anchor == "end" else 5), HEIGHT - BOTTOM - 6, anchor)


def _line(series: Series, css: str, x: Axis, y: Axis) -> list[Markup]:
    """Draw the unbroken parts of a line; a point without neighbours is a dot."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in series.points:
        if all(map(_finite, point)):
            runs[-1].append((x(point[0]), y(point[1])))
        elif runs[-1]:
            runs.append([])
    dashes = " dashed" if series.dashed else ""
    parts = []
    for run in filter(None, runs):
        if len(run) == 1:
            parts.append(tag("circle", cx=run[0][0], cy=run[0][1], r=3, class_=f"dot {css}"))
        else:
            path = "M" + "L".join(f"{a:g} {b:g}" for a, b in run)
            parts.append(tag("path", d=path, class_=f"line {css}{dashes}"))
    return parts


def text_at(content: str, x: float, y: float, anchor: str) -> Markup:
    """A text with its `anchor` (start, middle, end) at a place."""
    return tag("text", content, x=round(x, 1), y=round(y, 1), text_anchor=anchor)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
