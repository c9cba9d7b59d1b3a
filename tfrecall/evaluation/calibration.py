"""Whether predictions mean what they say: labels by bin of the prediction, and both distributions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Ten points can be read off a picture, and each holds enough rows to say something.
BINS = 10
# Labels of more different values are drawn in bins of equal width.
MOST_VALUES = 20


def calibration(predictions: np.ndarray, labels: np.ndarray, bins: int = BINS) -> dict[str, Any]:
    """Mean labels where predictions are alike.

    Rows are sorted by their prediction and cut into bins of about equally many, so that each mean is
    about equally sure, however skewed the predictions are. Rows of one prediction share a bin, so there
    may be fewer bins: one if all are predicted the same.

    Args:
        predictions: float `[n_rows]`, expected labels: of clicks probabilities.
        labels: float `[n_rows]`.
        bins: at most so many.

    Returns:
        `bins`, ascending, each with `low` and `high`, its extreme predictions, `rows`, and the means
        `prediction` and `label`; and `error`, the mean distance of both means, a row counting once: 0 if
        predictions are right on average wherever they lie, None without rows.

    >>> found = calibration(np.array([1.0, 2.0, 2.0, 4.0]), np.array([1.0, 1.0, 2.0, 5.0]), bins=2)
    >>> [(one["rows"], round(one["label"], 2)) for one in found["bins"]], round(found["error"], 2)
    ([(3, 1.33), (1, 5.0)], 0.5)

    Reference:
        Nguyen and O'Connor, "Posterior Calibration and Exploratory Analysis for Natural Language
        Processing Models", EMNLP 2015, section 4.1.
    """
    order = np.argsort(predictions, kind="stable")
    values = np.asarray(predictions, np.float64)[order]
    if not len(values):
        return {"error": None, "bins": []}
    _, last, ties = np.unique(values, return_index=True, return_counts=True)
    # The bin of a value is that of the middle of its rows.
    middles = last + (ties - 1) / 2
    _, owners = np.unique(np.floor(middles * bins / len(values)).astype(int), return_inverse=True)
    owners = np.repeat(owners, ties)
    rows = np.bincount(owners)
    mean_values = np.bincount(owners, values) / rows
    mean_labels = np.bincount(owners, np.asarray(labels, np.float64)[order]) / rows
    ends = np.cumsum(rows)
    columns = (values[ends - rows], values[ends - 1], rows, mean_values, mean_labels)
    names = ("low", "high", "rows", "prediction", "label")
    told = zip(*(column.tolist() for column in columns), strict=True)
    return {
        "error": float((rows * np.abs(mean_values - mean_labels)).sum() / len(values)),
        "bins": [dict(zip(names, one, strict=True)) for one in told],
    }


def histogram(at: Sequence[float], values: np.ndarray) -> list[int]:
    """How many values are nearest to each of some ascending numbers, the lower of two that are as near.

    Every value counts, however far off.

    >>> histogram([1, 2, 5], np.array([-9.0, 1.4, 1.6, 3.5, 4.0, 99.0]))
    [2, 2, 2]
    """
    middles = (np.asarray(at, np.float64)[1:] + np.asarray(at, np.float64)[:-1]) / 2
    counts = np.bincount(np.searchsorted(middles, values, side="left"), minlength=len(at))
    return [int(count) for count in counts]


def label_values(labels: np.ndarray) -> list[float]:
    """The numbers that a histogram of labels counts at: their values, or, of many, centres of bins.

    >>> label_values(np.array([3.0, 1.0, 3.0]))
    [1.0, 3.0]
    """
    found = np.unique(np.asarray(labels, np.float64))
    if len(found) <= MOST_VALUES:
        return found.tolist()
    edges = np.linspace(found[0], found[-1], MOST_VALUES + 1)
    return ((edges[1:] + edges[:-1]) / 2).tolist()


def rating_histogram(predictions: np.ndarray, labels: np.ndarray) -> dict[str, list[Any]]:
    """Labels and predictions, `at` the values of the labels: a prediction counts at the nearest."""
    at = label_values(labels)
    return {
        "at": at,
        "labels": histogram(at, labels),
        "predictions": histogram(at, predictions),
    }


def click_histogram(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, list[Any]]:
    """The probabilities of the rows that were clicked and of those that were not, in tenths."""
    at = [(2 * i + 1) / (2 * BINS) for i in range(BINS)]
    return {
        "at": at,
        "clicked": histogram(at, probabilities[labels > 0]),
        "not_clicked": histogram(at, probabilities[labels <= 0]),
    }
