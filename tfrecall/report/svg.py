"""Small charts as inline SVG: text and lines take their colours from the page, light or dark.

Panels are as wide as a phone, so that text keeps its size there; on a wide screen several fit side by
side. The classes `s0`, `s1`, ... of the style sheet distinguish the series.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 18, 12, 36
# Smallest distance between tick labels, which would overlap otherwise.
_APART = 30
# Number of distinguishable colours; further series share the last one.
COLORS = 6

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


def picture(
    label: str, content: Sequence[Markup], width: float = WIDTH, height: float = HEIGHT
) -> Markup:
    """SVG element that fills the width; `label` is for screen readers."""
    return tag("svg", joined(content), viewBox=f"0 0 {width} {height}", role="img", aria_label=label)


def line_chart(
    label: str,
    series: Sequence[Series],
    *,
    x_label: str,
    log_x: bool = False,
    x_ticks: Sequence[float] = (),
    mark: tuple[float, str] | None = None,
    bottom: float | None = None,
    text: Callable[[float], str] | None = None,
) -> Markup:
    """Lines over one horizontal axis, with grid, ticks and a legend below.

    Args:
        label: title above the picture.
        series: lines; without any finite point the result is empty.
        x_label: title of the horizontal axis.
        log_x: whether that axis is logarithmic.
        x_ticks: values of its ticks; chosen if empty.
        mark: value and label of a vertical line.
        bottom: value that the vertical axis must include at its lower end; None for the smallest value.
        text: format of the values of the vertical axis.
    """
    drawn = [(i, [p for p in s.points if all(map(_finite, p))]) for i, s in enumerate(series)]
    xs, ys = ([p[axis] for _, points in drawn for p in points] for axis in (0, 1))
    if not ys:
        return Markup("")
    levels = ticks(min([*ys, *([] if bottom is None else [bottom])]), max(ys))
    x = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, log_x)
    y = Axis(min(levels[0], *ys), max(levels[-1], *ys), HEIGHT - BOTTOM, TOP)
    at = [t for t in x_ticks if min(xs) <= t <= max(xs)] or ticks(min(xs), max(xs))
    at = [t for t in at if min(xs) <= t <= max(xs)]
    parts = [*_grid(x, y, at, levels, x_label, text or short)]
    if mark is not None:
        parts.append(_mark(x, *mark))
    for (i, _), one in zip(drawn, series, strict=True):
        parts += _line(one, f"s{min(i, COLORS - 1)}", x, y)
    return figure(label, picture(label, parts), [one.name for one in series])


def figure(label: str, content: Markup, names: Sequence[str] = ()) -> Markup:
    """A picture with its title and, where there are several series, a legend."""
    keys = [tag("span", name, class_=f"key s{min(i, COLORS - 1)}") for i, name in enumerate(names)]
    legend = tag("div", joined(keys), class_="legend") if len(keys) > 1 else Markup("")
    return tag("figure", tag("figcaption", label) + content + legend)


def intervals(label: str, rows: Sequence[tuple[str, float, float, float]]) -> Markup:
    """A row for each (name, value, low, high): a dot with whiskers about a line at 0."""
    if not rows:
        return Markup("")
    height, left = 26 * len(rows) + 34, 116
    ends = [0.0, *(v for _, *values in rows for v in values)]
    levels = ticks(min(ends), max(ends))
    x = Axis(min(levels[0], *ends), max(levels[-1], *ends), left, WIDTH - RIGHT)
    parts = []
    for level in levels:
        kind = "zero" if level == 0 else "grid"
        parts.append(tag("line", x1=x(level), x2=x(level), y1=6, y2=height - 24, class_=kind))
        parts.append(text_at(short(level), x(level), height - 8, "middle"))
    for i, (name, value, low, high) in enumerate(rows):
        y = 20 + 26 * i
        sure = "s0" if low > 0 or high < 0 else "unsure"
        parts.append(text_at(name, left - 8, y + 4, "end"))
        parts.append(tag("line", x1=x(low), x2=x(high), y1=y, y2=y, class_=f"line {sure}"))
        parts.append(tag("circle", cx=x(value), cy=y, r=4, class_=f"dot {sure}"))
    return figure(label, picture(label, parts, height=height))


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


def _grid(
    x: Axis,
    y: Axis,
    at: Sequence[float],
    levels: Sequence[float],
    x_label: str,
    text: Callable[[float], str],
) -> list[Markup]:
    parts = []
    for level in levels:
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(level), y2=y(level), class_="grid"))
        parts.append(text_at(text(level), LEFT - 6, y(level) + 4, "end"))
    last = -math.inf
    for place in at:
        if x(place) - last >= _APART:
            last = x(place)
            parts.append(text_at(short(place), last, HEIGHT - BOTTOM + 15, "middle"))
    parts.append(text_at(x_label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "middle"))
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


# Share of its slot that a group of bars fills.
_FILLED = 0.8
# Width of an average letter in units of the picture.
_LETTER = 6.5


@dataclass(frozen=True)
class Bars:
    """Bars of one colour: one value a group, from 0 up."""

    name: str
    values: Sequence[float]


def bar_chart(
    label: str,
    groups: Sequence[str],
    series: Sequence[Bars],
    *,
    x_label: str,
    text: Callable[[float], str] = short,
) -> Markup:
    """Groups from left to right, in each a bar of each series, with a legend below.

    Args:
        label: title above the picture.
        groups: names of the groups; if they do not fit, only every second or third is written.
        series: bars of one value for each group; without series the result is empty.
        x_label: title of the horizontal axis.
        text: format of the values.
    """
    if not groups or not series:
        return Markup("")
    levels = ticks(0.0, max(0.0, *(value for one in series for value in one.values)))
    y = Axis(0.0, levels[-1], HEIGHT - BOTTOM, TOP)
    parts = []
    for level in levels:
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(level), y2=y(level), class_="grid"))
        parts.append(text_at(text(level), LEFT - 6, y(level) + 4, "end"))
    place = (WIDTH - RIGHT - LEFT) / len(groups)
    width = _FILLED * place / len(series)
    for i, one in enumerate(series):
        for j, (group, value) in enumerate(zip(groups, one.values, strict=True)):
            # Slot j, half of its free space, then the bars of the series before.
            left = LEFT + place * (j + (1 - _FILLED) / 2) + width * i
            tooltip = tag("title", f"{one.name}, {group}: {text(value)}")
            css = f"block s{min(i, COLORS - 1)}"
            parts.append(_block(left, width, y(value), tooltip, css))
    # Slots that the longest name needs, rounded up: -(-a // b).
    every = -(-max(map(len, groups)) * _LETTER // place) or 1
    for j, group in enumerate(groups):
        if j % every == 0:
            parts.append(text_at(group, LEFT + place * (j + 0.5), HEIGHT - BOTTOM + 15, "middle"))
    parts.append(text_at(x_label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "middle"))
    return figure(label, picture(label, parts), [one.name for one in series])


def _block(left: float, width: float, top: float, tooltip: Markup, css: str) -> Markup:
    places = {"x": round(left, 1), "y": top, "width": round(width, 1)}
    return tag("rect", joined([tooltip]), **places, height=round(HEIGHT - BOTTOM - top, 1), class_=css)
