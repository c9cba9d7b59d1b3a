"""Pictures of models and logs, for notebooks and the README.

Show one by naming it at the end of a notebook cell; `save` writes it to a file.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone

import numpy as np

from tfrecall.core.dates import moment
from tfrecall.data.inspection.description import Description
from tfrecall.errors import DataError
from tfrecall.report.bars import Row, histogram_panel, row_panel
from tfrecall.report.pictures import Picture, save
from tfrecall.report.svg import COLORS, WIDTH, Panel, Series, line_panel, percent, short

# The last moment of the year 9999 in seconds; larger numbers are no dates.
LAST_DATE = 253_402_300_799
TOP_K = "val_hit_rate@{}"
_YEAR = 365.25 * 86400
# Grey: the last colour is that of what a model is compared with.
_GREY = COLORS - 1


def accuracy_curves(
    histories: Mapping[str, Mapping[str, Sequence[float]]],
    epochs: Sequence[int],
    *,
    ks: Sequence[int] = (1, 5, 10, 50, 100),
    reference: Mapping[str, float] | None = None,
    reference_name: str = "popularity",
    title: str = "",
) -> Picture:
    """hit_rate@k of the validation rows against epochs: a panel for each k, a line for each model.

    Args:
        histories: name of the model -> its `Fitted.history`.
        epochs: the validated epochs, one for each `val_` value of a history.
        ks: list lengths, one panel each.
        reference: figures of an untrained model, as in `Evaluation.test["seen_kept"]`; its
            `hit_rate@k` is drawn as a dashed line.
        reference_name: its name in the legend.
        title: title above all panels.

    Raises:
        DataError: if a history lacks one of the accuracies or has another number of them.
    """
    _check_histories(histories, epochs, ks)
    panels = {}
    for k in ks:
        lines = [
            Series(name, list(zip(map(float, epochs), history[TOP_K.format(k)], strict=True)))
            for name, history in histories.items()
        ]
        if reference is not None:
            ends = [(float(epoch), reference[f"hit_rate@{k}"]) for epoch in (epochs[0], epochs[-1])]
            lines.append(Series(reference_name, ends, dashed=True))
        panels[f"hit_rate@{k}"] = lines
    return curves(panels, x_label="epoch", title=title, bottom=0.0)


def curves(
    panels: Mapping[str, Sequence[Series]],
    *,
    x_label: str,
    title: str = "",
    log_x: bool = False,
    bottom: float | None = None,
    text: Callable[[float], str] = short,
    dates: bool = False,
) -> Picture:
    """Lines in panels that share a legend, up to three panels a row.

    Args:
        panels: title of the panel -> its lines; equal places have equal names in all panels.
        x_label: title of the horizontal axes.
        title: title above all panels.
        log_x: whether those axes are logarithmic.
        bottom: value that the vertical axes include at their lower end; None for the smallest value.
        text: format of the values of the vertical axes.
        dates: whether the horizontal values are seconds since 1970, shown as dates.

    Raises:
        DataError: if there is nothing to draw.

    Example:

    >>> picture = curves({"recall": [Series("towers", [(1, 0.1), (10, 0.4)])]}, x_label="k")
    >>> len(picture.panels)
    1
    """
    if not panels:
        raise DataError("There is no line to draw. Received: an empty mapping. Pass at least one.")
    drawn = [
        line_panel(
            label,
            lines,
            x_label=x_label,
            log_x=log_x,
            x_ticks=_x_ticks(lines, log_x, dates),
            x_text=_date if dates else None,
            bottom=bottom,
            text=text,
        )
        for label, lines in panels.items()
    ]
    return Picture(title, drawn, columns=_columns(len(drawn)))


def model_bars(
    figures: Mapping[str, tuple[float, float]],
    *,
    baselines: Sequence[str] = (),
    metric: str = "hit_rate@100",
    title: str = "",
) -> Picture:
    """Two horizontal bars a model, seen items kept and removed, from top to bottom.

    Args:
        figures: model -> (kept, removed), in the order of the rows.
        baselines: the models to draw in grey.
        metric: name of the metric.
        title: title above the bars.

    Raises:
        DataError: if there is nothing to draw.

    Example:

    >>> picture = model_bars({"popularity": (0.30, 0.41), "two_tower": (0.62, 0.74)})
    >>> len(picture.panels)
    1
    """
    _check_models(figures)
    rows = []
    for name, values in figures.items():
        colour = f"s{_GREY if name in baselines else 0}"
        rows.append(Row(name, values, (f"{colour} faint", colour)))
    rule = "lighter bar: seen items kept, stronger bar: removed"
    return Picture(title, [row_panel(metric, rows, width=2 * WIDTH, x_label=rule, text=_three)])


def slice_bars(
    figures: Mapping[str, Mapping[str, float]],
    *,
    baselines: Sequence[str] = (),
    title: str = "",
) -> Picture:
    """A panel for each slice, a horizontal bar for each model, up to three panels a row.

    Each panel has a scale of its own, from 0: the bars of one panel compare with one another.

    Args:
        figures: model -> slice -> value; the slices of the first model are the panels.
        baselines: the models to draw in grey.
        title: title above all panels.

    Raises:
        DataError: if there is nothing to draw.
    """
    _check_models(figures)
    panels = []
    for part in next(iter(figures.values())):
        rows = [
            Row(name, [values[part]], [f"s{_GREY if name in baselines else 0}"])
            for name, values in figures.items()
        ]
        panels.append(row_panel(part, rows, width=WIDTH, text=_three))
    return Picture(title, panels, columns=_columns(len(panels)))


def log_picture(found: Description) -> Picture:
    """Draw the distributions of a log: events over time, histories, popularity, ratings if any.

    Args:
        found: description of the log, from `tfrecall.data.describe`.
    """
    seconds, ratings = (_finite(found.arrays[name]) for name in ("seconds", "ratings"))
    panels = [_time_panel(seconds), _lengths_panel(found.arrays["history_lengths"])]
    panels.append(_popularity_panel(found))
    if len(ratings):
        edges = np.histogram_bin_edges(ratings, 20)
        panels.append(histogram_panel("events by rating", ratings, edges, x_label="rating"))
    title = f"{found.name}: {found.rows:,} rows, {found.users:,} users, {found.items:,} items"
    return Picture(title, panels, columns=2)


def _finite(values: np.ndarray) -> np.ndarray:
    numbers = values.astype(np.float64)
    return numbers[np.isfinite(numbers)]


def _time_panel(seconds: np.ndarray) -> Panel:
    if not len(seconds):
        return Panel("events over time", ())
    edges = np.histogram_bin_edges(seconds, 60)
    # Numbers out of that range, such as counters, stay numbers.
    dated = seconds.min() > 0 and seconds.max() < LAST_DATE
    return histogram_panel(
        "events over time",
        seconds,
        edges,
        x_label="time" if dated else "time, as the log counts it",
        x_ticks=_date_ticks(edges[0], edges[-1]) if dated else (),
        x_text=_date if dated else short,
    )


def _lengths_panel(lengths: np.ndarray) -> Panel:
    # Equal widths on the logarithmic axis; short lengths round to the same edge.
    edges = np.unique(np.geomspace(1, lengths.max() + 1, 30).astype(int))
    powers = _powers(1, int(lengths.max()) + 1)
    label, x_label = "users by length of history", "events of a user"
    return histogram_panel(label, lengths, edges, x_label=x_label, log_x=True, x_ticks=powers)


def _popularity_panel(found: Description) -> Panel:
    counts = np.sort(found.arrays["popularity"])[::-1]
    shares = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    at = np.unique(np.linspace(0, len(counts), 101).round().astype(int))
    line = [(float(i / len(counts)), float(shares[i])) for i in at]
    return line_panel(
        f"share of the events by item, Gini {found.popularity['gini']:.2f}",
        [Series("items", line), Series("all items alike", [(0.0, 0.0), (1.0, 1.0)], dashed=True)],
        x_label="share of the items, most popular first",
        x_ticks=[0.0, 0.25, 0.5, 0.75, 1.0],
        x_text=percent,
        bottom=0.0,
        text=percent,
    )


def _x_ticks(lines: Sequence[Series], log_x: bool, dates: bool) -> Sequence[float]:
    places = [x for line in lines for x, _ in line.points]
    if not places or not (log_x or dates):
        return ()
    return _date_ticks(min(places), max(places)) if dates else _powers(min(places), max(places))


def _powers(low: float, high: float) -> list[float]:
    """1, 10, 100, ... between two positive numbers, with twos and fives where these are few."""
    exponents = range(int(np.floor(np.log10(low))), int(np.log10(high)) + 1)
    factors = (1, 2, 5) if len(exponents) < 4 else (1,)
    return [float(f * 10.0**e) for e in exponents for f in factors if low <= f * 10.0**e <= high]


def _date_ticks(low: float, high: float) -> list[float]:
    """About five moments, at the first of January where the years are many."""
    years = (high - low) / _YEAR
    if years < 4:
        return [float(x) for x in np.linspace(low, high, 4)]
    first, last = (moment(seconds).year for seconds in (low, high))
    every = -(-(last - first) // 5)
    starts = (datetime(year, 1, 1, tzinfo=timezone.utc) for year in range(first + 1, last + 1, every))
    return [start.timestamp() for start in starts]


def _date(seconds: float) -> str:
    return f"{moment(seconds):%Y-%m-%d}"


def _columns(panels: int) -> int:
    """Three panels a row, but two for four."""
    return 2 if panels == 4 else min(3, panels)


def _three(value: float) -> str:
    return f"{value:.3f}"


def _check_models(figures: Mapping[str, object]) -> None:
    if not figures:
        raise DataError("There is no model to draw. Received: an empty mapping. Pass at least one.")


def _check_histories(
    histories: Mapping[str, Mapping[str, Sequence[float]]], epochs: Sequence[int], ks: Sequence[int]
) -> None:
    if not histories:
        raise DataError("There is no history to draw. Received: an empty mapping. Pass at least one.")
    for name, history in histories.items():
        for k in ks:
            values = history.get(TOP_K.format(k), ())
            if len(values) != len(epochs):
                raise DataError(
                    f'The history of "{name}" has {len(values)} values of {TOP_K.format(k)} for '
                    f"{len(epochs)} validated epochs. Fit with validation rows, and pass the epochs "
                    "that were validated."
                )


__all__ = [
    "Picture",
    "Series",
    "accuracy_curves",
    "curves",
    "log_picture",
    "model_bars",
    "save",
    "slice_bars",
]
