"""Map of the item vectors: their projection on two principal axes, similar items close together."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from markupsafe import Markup

from tfrecall.core.item_plane import (
    Plane,
    colour_column,
    colour_groups,
    colour_values,
    principal_plane,
)
from tfrecall.report.svg import COLORS, Panel, figure, tag

WIDTH, HEIGHT, MARGIN = 720, 560, 14
# A point takes about 100 bytes, so the page stays below a megabyte.
MAX_POINTS = 1500
MAX_LABELS = 28
# Letters of a name.
_LONGEST = 26
# Size of letters in units of the picture, as in the style sheet, on a wide screen and on a phone.
_LETTERS, _LETTERS_OF_PHONES = 11, 21
# Vectors from which the axes are computed; more would cost memory and hardly move them.
MAX_VECTORS = 20_000
_LABEL = "Item vectors on their first two principal axes"


def item_map(
    vectors: np.ndarray,
    items: pl.DataFrame,
    names: pl.Series,
    popularity: np.ndarray,
    leave: Sequence[str],
) -> tuple[Markup, str]:
    """Draw the map, and describe it in one sentence.

    Args:
        vectors: candidate vectors of the catalogue.
        items: the item table in the same order.
        names: titles of the items.
        popularity: training rows of each item; the most popular are drawn and named first.
        leave: columns that may not colour, such as ids and titles.
    """
    order = np.argsort(-popularity, kind="stable")[:MAX_VECTORS]
    plane = principal_plane(vectors[order])
    table = items[order.tolist()]
    column = colour_column(table, plane.places, leave)
    values = None if column is None else colour_values(table[column])
    groups, keys = (np.zeros(len(order), int), []) if values is None else colour_groups(values, COLORS)
    spots, called = _spots(plane.places[:MAX_POINTS]), names[order[:MAX_POINTS].tolist()].to_list()
    # SVG paints in document order: rare colours last, or frequent ones would cover them.
    sizes = np.bincount(groups)
    sequence = sorted(range(len(called)), key=lambda i: (-sizes[groups[i]], i))
    points = [_point(spots[i], int(groups[i]), called[i]) for i in sequence]
    # Letters keep their size on a phone, where the map is half as wide: there are two sets of names.
    labels = [
        *_labels(spots, called, _LETTERS, "wide"),
        *_labels(spots, called, _LETTERS_OF_PHONES, "narrow"),
    ]
    panel = Panel(_LABEL, [*points, *labels], WIDTH, HEIGHT, names=keys)
    caption = _caption(plane, len(called), len(order), len(vectors))
    if column is not None:
        many = ", the first value of each" if items.schema[column] == pl.List else ""
        caption += f"; coloured by {column}{many}"
    return tag("div", figure(panel), class_="map"), f"{caption}."


def _caption(plane: Plane, drawn: int, planned: int, everything: int) -> str:
    caption = f"The plane keeps {plane.explained:.0%} of the variance of the vectors"
    if planned < everything:
        caption += f" of the {planned:,} items with most training rows"
    if drawn < everything:
        caption += f"; the {drawn:,} with most training rows of {everything:,} are drawn"
    return f"{caption}; what lies far out stands on the edge"


def _spots(places: np.ndarray) -> np.ndarray:
    """Positions in units of the picture; outliers are clipped to its edge."""
    # Scaled to the central 99 %: a single outlier would press all other points together.
    low, high = np.quantile(places, [0.005, 0.995], axis=0)
    share = (places - low) / np.where(high > low, high - low, 1.0)
    size = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    return np.round(MARGIN + np.clip(share, 0, 1) * size, 1)


def _point(spot: np.ndarray, group: int, name: str) -> Markup:
    tooltip = tag("title", name)  # browsers show it under the pointer
    return tag("circle", tooltip, cx=f"{spot[0]:g}", cy=f"{spot[1]:g}", r=3.5, class_=f"dot s{group}")


def _labels(spots: np.ndarray, names: Sequence[str], size: int, css: str) -> list[Markup]:
    """Names of the first items in one size of letters, none over another."""
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[Markup] = []
    for (x, y), name in zip(spots, names, strict=True):
        label = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        width = size * text_width(label)
        left = min(x + 5, WIDTH - width)
        # Left, top, right, bottom. Greedy, most popular first: a label that would overlap is left out.
        box = (left, y - 0.8 * size, left + width, y + 0.6 * size)
        if left >= 0 and all(
            box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1] for b in boxes
        ):
            boxes.append(box)
            labels.append(
                tag("text", label, x=round(left, 1), y=round(y + 0.3 * size, 1), class_=f"name {css}")
            )
        if len(labels) == MAX_LABELS:
            break
    return labels


def text_width(text: str) -> float:
    """Width of a text in any font of screens, at least, in multiples of the letter size.

    >>> text_width("ill"), text_width("WWW"), text_width("電影")
    (2.1, 3.15, 2.1)
    """
    return round(sum(_letter_width(letter) for letter in text), 2)


def _letter_width(letter: str) -> float:
    # DejaVu Sans is the widest of the fonts behind `system-ui`: its W takes 0.99, other capitals and digits
    # up to 0.86, small letters up to 0.65. Letters of other scripts and pictographs fill a square.
    if letter in "mwMW@%…" or not letter.isascii():
        return 1.05
    return 0.88 if letter.isupper() else 0.7


__all__ = ["Plane", "colour_column", "item_map", "principal_plane"]
