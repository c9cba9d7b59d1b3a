"""Label specifications: the number that a ranker predicts for a row of a log."""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import model_validator
from pydantic.dataclasses import dataclass

from tfrecall.errors import DataError, MissingColumnError, nearest
from tfrecall.schema.specs import STRICT, Finite, config_errors

# What a label is to a task: a number to predict, 0 or 1, or the source of a gain.
Kind = Literal["rating", "click", "list"]
Gain = Literal["linear", "exponential"]


def gains(labels: np.ndarray, gain: Gain) -> np.ndarray:
    """Gains of labels in a list: the label itself, or 2^label - 1; infinite beyond float64.

    >>> gains(np.array([0.0, 1.0, 3.0]), "exponential").tolist()
    [0.0, 1.0, 7.0]
    """
    with np.errstate(over="ignore"):
        return 2.0**labels - 1.0 if gain == "exponential" else labels


@config_errors
@dataclass(frozen=True, config=STRICT)
class Label:
    """Column of the log that a ranker predicts, and the range of its values.

    Attributes:
        column: name of the column.
        low, high: declared range, both ends included; None for no bound.
        threshold: if given, the label is 1 for values from here on, else 0.

    Raises:
        ConfigError: if `low` is not below `high`, or a number is infinite or NaN.

    >>> Label("rating", 1, 5, threshold=4).values(pl.Series([3.0, 4.0, 5.0])).tolist()
    [0.0, 1.0, 1.0]
    """

    column: str = "rating"
    low: Finite = None
    high: Finite = None
    threshold: Finite = None

    @model_validator(mode="after")
    def _check(self) -> "Label":
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(
                f"`low` of the label must be below `high`. Received: {self.low} to {self.high}"
            )
        return self

    def values(self, column: pl.Series) -> np.ndarray:
        """Labels of the rows: float64 `[n]`; without a threshold NaN for null, with one 0 and 1.

        Raises:
            DataError: if there is a threshold and a value is null or NaN, which is on neither side of it.
        """
        values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        if self.threshold is None:
            return values
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            raise DataError(
                f'{len(missing):,} of {len(values):,} values of the label "{self.column}" are null or NaN, '
                f"the first in row {missing[0]:,}, so they are on neither side of the threshold "
                f"{self.threshold:g}. Leave these rows out, or fill them."
            )
        return (values >= self.threshold).astype(np.float64)

    def check(
        self,
        log: pl.DataFrame,
        what: str = "training rows",
        *,
        learned: bool = True,
        kind: Kind = "rating",
        gain: Gain = "linear",
    ) -> None:
        """Refuses a log without usable labels.

        Args:
            log: table with the column.
            what: name of its rows in messages.
            learned: whether a model is trained on it, which needs different labels.
            kind: what the label is to the task: a `click` is 0 or 1, and the gains of a `list` are 0 or more.
            gain: with `list`, the gain of a label (`gains`).

        Raises:
            MissingColumnError: if the column is missing.
            DataError: if labels are null, NaN, infinite, out of the range, no numbers, or all equal; if
                clicks are neither 0 nor 1, or gains are negative or beyond float32.
        """
        if self.column not in log.columns:
            raise MissingColumnError(
                f'The label "{self.column}" is no column of the log, which has: {", ".join(log.columns)}.'
                f"{nearest(self.column, log.columns)} Name it in `task.label`."
            )
        column = log[self.column]
        if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
            raise DataError(
                f'The label "{self.column}" holds {column.dtype}, but a number is to be predicted. Cast it, '
                "or name another column."
            )
        # The raw values and not `self.values`, where a threshold turns null and outliers into 0 and 1.
        values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        self._check_finite(values, what)
        if kind == "click":
            self._check_clicks(values, what)
        self._check_range(values, what)
        if kind == "list":
            self._check_gains(self.values(column), what, gain)
        if learned:
            self._check_differ(self.values(column), what)

    def _check_finite(self, values: np.ndarray, what: str) -> None:
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise DataError(
                f'{len(wrong):,} of {len(values):,} {what} have no label: "{self.column}" is null, NaN or '
                f"infinite there, the first in row {wrong[0]:,}. Leave these rows out, or fill them."
            )

    def _check_clicks(self, values: np.ndarray, what: str) -> None:
        if self.threshold is not None:
            return
        wrong = np.flatnonzero((values != 0) & (values != 1))
        if len(wrong):
            raise DataError(
                f'{len(wrong):,} of {len(values):,} {what} have a label "{self.column}" that is neither 0 '
                f"(no click) nor 1, the first in row {wrong[0]:,}: {values[wrong[0]]:g}; they lie between "
                f"{values.min():g} and {values.max():g}. Say from which value on a label is a click, with "
                "`threshold` (`task.threshold`, or `tr.Label(..., threshold=)`), or predict the number "
                'itself (`task.type = "rating"`, `tr.Ratings()`).'
            )

    def _check_gains(self, labels: np.ndarray, what: str, gain: Gain) -> None:
        negative = np.flatnonzero(labels < 0)
        if len(negative):
            raise DataError(
                f'{len(negative):,} of {len(labels):,} {what} have a negative label "{self.column}", the '
                f"first in row {negative[0]:,}: {labels[negative[0]]:g}. The `gain` of a row in a list is "
                "0 or more: shift the labels so that the worst is 0, or leave these rows out."
            )
        # Sums of gains are float32 in a training step, and infinite shares are NaN.
        if len(labels) and gains(labels, gain).sum() > np.finfo(np.float32).max:
            raise DataError(
                f'The `gain` "{gain}" of the label "{self.column}", which reaches {labels.max():g} in the '
                f"{what}, is beyond the numbers of a training step"
                f"{' (2^label - 1)' if gain == 'exponential' else ''}. "
                'Take `gain = "linear"` (`task.gain`, `tr.Lists(gain=)`), or scale the labels down to '
                "grades, such as 0 to 4."
            )

    def _check_range(self, values: np.ndarray, what: str) -> None:
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        wrong = np.flatnonzero((values < low) | (values > high))
        if len(wrong):
            raise DataError(
                f'{len(wrong):,} of {len(values):,} {what} have a label "{self.column}" outside {low:g} to '
                f"{high:g}, the first in row {wrong[0]:,}: {values[wrong[0]]:g}. Leave them out, or declare "
                "the range that labels have (`task.low`, `task.high`)."
            )

    def _check_differ(self, values: np.ndarray, what: str) -> None:
        if not len(values):
            raise DataError(f"There are no {what}. A ranker learns from rows with labels.")
        if values.min() == values.max():
            reached = "" if self.threshold is None else f", with the threshold {self.threshold:g},"
            raise DataError(
                f'All {len(values):,} {what} have the same label{reached} "{self.column}" = {values[0]:g}, '
                "so there is nothing to learn. Name another column in `task.label`, or another threshold."
            )
