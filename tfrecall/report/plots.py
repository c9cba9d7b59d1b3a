"""Pictures of runs, for notebooks and the README.

Figures are transparent and their text is a middle grey, so they can be read on white and on dark pages.
Show one by naming it at the end of a notebook cell, after `%matplotlib inline`.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrecall.data.inspection.description import Description
from tfrecall.errors import ConfigError, DataError

if TYPE_CHECKING:  # an extra
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Contrast 4.5 : 1 against white and 4.6 : 1 against black; WCAG asks for 4.5.
TEXT = "#767676"
GRID = "#76767640"
COLORS = ("#2f7fd1", "#d9730d", "#2a9d6f", "#a259c4")
# Lighter: seen items kept. Stronger: seen items removed.
MODEL_COLORS = ("#8fbbe8", "#2f7fd1")
BASELINE_COLORS = ("#bdbdbd", "#8a8a8a")
PICTURES = (".png", ".svg", ".pdf")
# The year 2261 in seconds, near the end of nanosecond timestamps; larger numbers are no dates.
LAST_DATE = 9.2e9
TOP_K = "val_factorized_top_k/top_{}_categorical_accuracy"


def accuracy_curves(
    histories: Mapping[str, Mapping[str, Sequence[float]]],
    epochs: Sequence[int],
    *,
    ks: Sequence[int] = (1, 5, 10, 50, 100),
    reference: Mapping[str, float] | None = None,
    reference_name: str = "popularity",
    title: str = "",
) -> "Figure":
    """Top-k accuracy against epochs: a panel for each k, a line for each model.

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
    figure = _figure(11, 6)
    panels = figure.subplots(2, (len(ks) + 2) // 2, sharex=True, squeeze=False).flat
    for k, axes in zip(ks, panels, strict=False):
        for (name, history), color in zip(histories.items(), itertools.cycle(COLORS), strict=False):
            axes.plot(epochs, history[TOP_K.format(k)], color=color, label=name)
        if reference is not None:
            axes.axhline(reference[f"hit_rate@{k}"], color=TEXT, ls="--", label=reference_name)
        _dress(axes, f"top-{k} accuracy")
        axes.set_ylim(bottom=0)
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("epoch", color=TEXT)
    lines, names = axes.get_legend_handles_labels()
    # `panels` is an iterator: the loop above took as many as there are ks, the rest are empty cells of the
    # grid, where the legend goes.
    for empty in list(panels):
        empty.set_axis_off()
    figure.legend(lines, names, loc="lower right", frameon=False, labelcolor=TEXT, fontsize=12)
    figure.suptitle(title, color=TEXT)
    return figure


def model_bars(
    figures: Mapping[str, tuple[float, float]],
    *,
    baselines: Sequence[str] = (),
    metric: str = "hit_rate@100",
    title: str = "",
) -> "Figure":
    """Two horizontal bars a model, seen items kept and removed, from top to bottom.

    Args:
        figures: model -> (kept, removed), in the order of the rows.
        baselines: the models to draw in grey.
        metric: name of the metric.
        title: title above the bars.

    Raises:
        DataError: if there is nothing to draw.
    """
    if not figures:
        raise DataError("There is no model to draw. Received: an empty mapping. Pass at least one.")
    figure = _figure(9, 1.2 + 0.5 * len(figures))
    axes = figure.subplots()
    for row, (name, values) in enumerate(figures.items()):
        colors = BASELINE_COLORS if name in baselines else MODEL_COLORS
        for shift, value, color in zip((-0.2, 0.2), values, colors, strict=True):
            bar = axes.barh(row + shift, value, height=0.36, color=color)
            axes.bar_label(bar, fmt="%.3f", padding=3, color=TEXT, fontsize=9)
    axes.set_yticks(range(len(figures)), list(figures))
    axes.invert_yaxis()
    _dress(axes, title)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{metric}:  lighter bar = seen items kept,  stronger bar = removed", color=TEXT)
    axes.set_xlim(0, 1.12 * max(max(values) for values in figures.values()))
    return figure


def slice_bars(
    figures: Mapping[str, Mapping[str, float]],
    *,
    baselines: Sequence[str] = (),
    title: str = "",
) -> "Figure":
    """A panel for each slice, a horizontal bar for each model.

    Each panel has a scale of its own, from 0: the bars of one panel compare with one another.

    Args:
        figures: model -> slice -> value; the slices of the first model are the panels.
        baselines: the models to draw in grey.
        title: title above all panels.

    Raises:
        DataError: if there is nothing to draw.
    """
    if not figures:
        raise DataError("There is no model to draw. Received: an empty mapping. Pass at least one.")
    names = list(next(iter(figures.values())))
    figure = _figure(11, 1.4 + 0.35 * len(figures))
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False).flat
    colors = [(BASELINE_COLORS if name in baselines else MODEL_COLORS)[1] for name in figures]
    for axes, name in zip(panels, names, strict=True):
        values = [row[name] for row in figures.values()]
        bars = axes.barh(range(len(figures)), values, height=0.7, color=colors)
        axes.bar_label(bars, fmt="%.3f", padding=3, color=TEXT, fontsize=9)
        axes.set_yticks(range(len(figures)), list(figures))
        axes.set_xlim(0, 1.25 * max(values) or 1)
        _dress(axes, name)
        axes.grid(axis="y", visible=False)
    axes.invert_yaxis()
    figure.suptitle(title, color=TEXT)
    return figure


def log_picture(found: Description) -> "Figure":
    """Draw the distributions of a log: events over time, histories, popularity, ratings if any.

    Args:
        found: description of the log, from `tfrecall.data.describe`.
    """
    figure = _figure(11, 6.5)
    panels = figure.subplots(2, 2).flat
    arrays = found.arrays
    _bars(panels[0], _dates(arrays["seconds"]), "events over time", "time", "events", bins=60)
    lengths = arrays["history_lengths"]
    # Equal widths on the logarithmic axis; short lengths round to the same edge.
    edges = np.unique(np.geomspace(1, lengths.max() + 1, 30).astype(int))
    _bars(panels[1], lengths, "how long histories are", "events of a user", "users", bins=edges)
    panels[0].tick_params(axis="x", rotation=20)
    panels[1].set_xscale("log")
    panels[1].minorticks_off()
    shares = np.cumsum(np.sort(arrays["popularity"])[::-1]) / arrays["popularity"].sum()
    panels[2].plot(np.linspace(0, 1, len(shares) + 1), [0, *shares], color=COLORS[0])
    panels[2].plot([0, 1], [0, 1], color=TEXT, ls="--", lw=1)
    _dress(panels[2], f"popularity: Gini {found.popularity['gini']:.2f}")
    panels[2].set_xlabel("share of the items, most popular first", color=TEXT)
    panels[2].set_ylabel("share of the events", color=TEXT)
    if len(arrays["ratings"]):
        _bars(panels[3], arrays["ratings"], "ratings", "rating", "events", bins=20)
    else:
        panels[3].set_axis_off()
    figure.suptitle(
        f"{found.name}: {found.rows:,} rows, {found.users:,} users, {found.items:,} items", color=TEXT
    )
    return figure


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure; the suffix of the path decides the format.

    Raises:
        ConfigError: if the suffix is not of a picture, or the file cannot be written.
    """
    if Path(path).suffix.lower() not in PICTURES:
        raise ConfigError(f"A picture is a file of {', '.join(PICTURES)}. Received: {path}.")
    try:
        figure.savefig(path)
    except OSError as error:
        raise ConfigError(
            f"The picture {path} cannot be written: {error}. Name another place."
        ) from error


def _bars(axes: "Axes", values: Any, title: str, x: str, y: str, bins: Any) -> None:
    axes.hist(values, bins=bins, color=COLORS[0])
    _dress(axes, title)
    axes.set_xlabel(x, color=TEXT)
    axes.set_ylabel(y, color=TEXT)


def _dates(seconds: np.ndarray) -> np.ndarray:
    """Convert seconds since 1970 to dates; numbers out of that range, such as counters, stay numbers."""
    if len(seconds) and seconds.min() > 0 and seconds.max() < LAST_DATE:
        return seconds.astype("int64").astype("datetime64[s]")
    return seconds


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure  # an extra that answering and training do without
    except ImportError as error:
        raise ConfigError(
            "Pictures are drawn by matplotlib, which is not installed: pip install matplotlib."
        ) from error

    return Figure(figsize=(width, height), layout="constrained", facecolor="none")


def _dress(axes: "Axes", title: str) -> None:
    axes.set_facecolor("none")
    axes.set_title(title, color=TEXT, fontsize=11)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(colors=TEXT, length=0)
    axes.spines[:].set_visible(False)


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


__all__ = ["accuracy_curves", "log_picture", "model_bars", "save", "slice_bars"]
