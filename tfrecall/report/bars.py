"""Panels of bars: groups side by side, rows from left to right, histograms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from tfrecall.report.svg import (
    BOTTOM,
    COLORS,
    HEIGHT,
    LEFT,
    LETTER,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Panel,
    figure,
    grid,
    joined,
    short,
    tag,
    text_at,
    ticks,
    x_axis,
)

# Share of its slot that a group of bars fills.
_FILLED = 0.8
# Height of a bar of `row_panel`, and of the space between two rows.
_BAR, _BETWEEN = 13, 10
# Largest share of the width that the names take.
_NAMES = 0.42


@dataclass(frozen=True)
class Bars:
    """Bars of one colour: one value a group, from 0 up."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True)
class Row:
    """A row of horizontal bars.

    Attributes:
        name: text before the bars.
        values: lengths of the bars from top to bottom, from 0 up.
        css: classes of the bars, `s0` for the first colour of the series.
    """

    name: str
    values: Sequence[float]
    css: Sequence[str]


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
    parts = grid(y, levels, x_label, text)
    place = (WIDTH - RIGHT - LEFT) / len(groups)
    width = _FILLED * place / len(series)
    for i, one in enumerate(series):
        for j, (group, value) in enumerate(zip(groups, one.values, strict=True)):
            # Slot j, half of its free space, then the bars of the series before.
            left = LEFT + place * (j + (1 - _FILLED) / 2) + width * i
            tooltip = f"{one.name}, {group}: {text(value)}"
            parts.append(_block(left, y(value), width, HEIGHT - BOTTOM - y(value), tooltip, _css(i)))
    # Slots that the longest name needs, rounded up: -(-a // b).
    every = -(-max(map(len, groups)) * LETTER // place) or 1
    for j, group in enumerate(groups):
        if j % every == 0:
            parts.append(text_at(group, LEFT + place * (j + 0.5), HEIGHT - BOTTOM + 15, "middle"))
    return figure(Panel(label, parts, names=[one.name for one in series]))


def row_panel(
    label: str,
    rows: Sequence[Row],
    *,
    width: float,
    x_label: str = "",
    text: Callable[[float], str] = short,
) -> Panel:
    """Rows from top to bottom, each with its bars below one another and their values behind them.

    Args:
        label: title above the panel.
        rows: the rows; the longest bar of all fills the width.
        width: width of the panel.
        x_label: text below the rows.
        text: format of the values.
    """
    most = int(_NAMES * width / LETTER)
    names = [row.name if len(row.name) <= most else f"{row.name[: most - 1]}…" for row in rows]
    left = 14 + LETTER * max(map(len, names))
    values = [value for row in rows for value in row.values]
    # Behind the longest bar there is room for its value.
    room = LETTER * max(len(text(value)) for value in values) + 10
    x = Axis(0.0, max(values) or 1.0, left, width - room)
    parts: list[Markup] = []
    top = float(TOP)
    for row, name in zip(rows, names, strict=True):
        middle = top + _BAR * len(row.values) / 2 + 4
        parts.append(text_at(escape(name) + tag("title", row.name), left - 8, middle, "end"))
        for value, css in zip(row.values, row.css, strict=True):
            tooltip = f"{row.name}: {text(value)}"
            parts.append(_block(left, top, x(value) - left, _BAR - 1, tooltip, css))
            parts.append(text_at(text(value), x(value) + 4, top + _BAR - 3, "start"))
            top += _BAR
        top += _BETWEEN
    if x_label:
        top += 14
        parts.append(text_at(x_label, left, top - 4, "start"))
    return Panel(label, parts, width, top)


def histogram_panel(
    label: str,
    values: np.ndarray,
    edges: np.ndarray,
    *,
    x_label: str,
    log_x: bool = False,
    x_ticks: Sequence[float] = (),
    x_text: Callable[[float], str] = short,
) -> Panel:
    """Number of values between edges.

    Args:
        label: title above the panel.
        values: numbers; those beyond the outer edges are left out.
        edges: ends of the bins, rising; a bin holds its lower end, the last one both.
        x_label: title of the horizontal axis.
        log_x: whether that axis is logarithmic; needs positive edges.
        x_ticks: values of its ticks; chosen if empty.
        x_text: format of its values.
    """
    counts = np.histogram(values, edges)[0].tolist()
    ends = edges.astype(float).tolist()
    levels = ticks(0.0, float(max(counts)))
    y = Axis(0.0, levels[-1], HEIGHT - BOTTOM, TOP)
    x = Axis(ends[0], ends[-1], LEFT, WIDTH - RIGHT, log_x)
    parts = grid(y, levels, x_label, short)
    for low, high, count in zip(ends, ends[1:], counts, strict=False):
        tooltip = f"{x_text(low)} to {x_text(high)}: {count:,}"
        height = HEIGHT - BOTTOM - y(count)
        # Half a unit between bars, but no bar vanishes.
        parts.append(_block(x(low), y(count), max(x(high) - x(low) - 0.5, 0.5), height, tooltip, "s0"))
    at = [t for t in x_ticks or ticks(ends[0], ends[-1]) if ends[0] <= t <= ends[-1]]
    return Panel(label, [*parts, *x_axis(x, at, x_text)])


def _css(series: int) -> str:
    return f"s{min(series, COLORS - 1)}"


def _block(left: float, top: float, width: float, height: float, tooltip: str, css: str) -> Markup:
    places = {"x": left, "y": top, "width": width, "height": height}
    rounded = {name: round(value, 1) for name, value in places.items()}
    return tag("rect", joined([tag("title", tooltip)]), **rounded, class_=f"block {css}")
