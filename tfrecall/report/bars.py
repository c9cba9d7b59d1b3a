"""Bars side by side as inline SVG, with the look of `tfrecall.report.svg`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tfrecall.report.svg import (
    BOTTOM,
    COLORS,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    figure,
    joined,
    picture,
    short,
    tag,
    text_at,
    ticks,
)

# Share of its place that a group of bars fills.
_FILLED = 0.8
_LETTER = 6.5


@dataclass(frozen=True)
class Bars:
    """The bars of one colour: a value of each group, from 0 up."""

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
        label: what is drawn, above the picture.
        groups: their names; where they do not fit, only every second or third is written.
        series: as many values as there are groups, each; nothing is drawn where there are none.
        x_label: what the groups are.
        text: how values are written.
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
            left = LEFT + place * (j + (1 - _FILLED) / 2) + width * i
            said = tag("title", f"{one.name}, {group}: {text(value)}")
            css = f"block s{min(i, COLORS - 1)}"
            parts.append(_block(left, width, y(value), said, css))
    every = -(-max(map(len, groups)) * _LETTER // place) or 1
    for j, group in enumerate(groups):
        if j % every == 0:
            parts.append(text_at(group, LEFT + place * (j + 0.5), HEIGHT - BOTTOM + 15, "middle"))
    parts.append(text_at(x_label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "middle"))
    return figure(label, picture(label, parts), [one.name for one in series])


def _block(left: float, width: float, top: float, said: Markup, css: str) -> Markup:
    places = {"x": round(left, 1), "y": top, "width": round(width, 1)}
    return tag("rect", joined([said]), **places, height=round(HEIGHT - BOTTOM - top, 1), class_=css)
