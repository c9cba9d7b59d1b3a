"""Label specifications: the number that a ranker predicts for a row of a log."""

import numpy as np
import polars as pl
from pydantic import model_validator
from pydantic.dataclasses import dataclass

from tfrecall.errors import DataError, MissingColumnError, nearest
from tfrecall.schema.specs import STRICT, Finite, config_errors


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
        """Labels of the rows: float64 `[n]`, NaN for null, or 0 and 1 with a threshold."""
        values = column.cast(pl.Float64).to_numpy()
        return values if self.threshold is None else (values >= self.threshold).astype(np.float64)

    def check(self, log: pl.DataFrame, what: str = "training rows", *, learned: bool = True) -> None:
        """Refuses a log without usable labels.

        Args:
            log: table with the column.
            what: name of its rows in messages.
            learned: whether a model is trained on it, which needs different labels.

        Raises:
            MissingColumnError: if the column is missing.
            DataError: if labels are null, NaN, infinite, out of the range, no numbers, or all equal.
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
        self._check_range(values, what)
        if learned:
            self._check_differ(self.values(column), what)

    def _check_finite(self, values: np.ndarray, what: str) -> None:
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise DataError(
                f'{len(wrong):,} of {len(values):,} {what} have no label: "{self.column}" is null, NaN or '
                f"infinite there, the first in row {wrong[0]:,}. Leave these rows out, or fill them."
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
