"""What a ranker learns to predict: one number a row of a log, read and checked."""

from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tfrecall.errors import DataError, MissingColumnError, nearest
from tfrecall.schema.specs import STRICT, readable

_Finite = Annotated[float | None, Field(allow_inf_nan=False)]


@readable
@dataclass(frozen=True, config=STRICT)
class Label:
    """A column of the log that is to be predicted, and the values that it may have.

    Attributes:
        column: the column.
        low, high: the declared range, both ends included; None for no end.
        threshold: where there is one, what is predicted is whether the value reaches it: 1 or 0.

    >>> Label("rating", 1, 5, threshold=4).values(pl.Series([3.0, 4.0, 5.0])).tolist()
    [0.0, 1.0, 1.0]
    """

    column: str = "rating"
    low: _Finite = None
    high: _Finite = None
    threshold: _Finite = None

    @model_validator(mode="after")
    def _check(self) -> "Label":
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(
                f"the range of labels begins below its end. Received: {self.low} to {self.high}"
            )
        return self

    def values(self, column: pl.Series) -> np.ndarray:
        """The numbers to predict: float64 `[n]`."""
        values = column.cast(pl.Float64).to_numpy()
        return values if self.threshold is None else (values >= self.threshold).astype(np.float64)

    def check(self, log: pl.DataFrame, what: str = "training rows", *, learned: bool = True) -> None:
        """Refuses a log that cannot be learned from.

        Args:
            log: with the column.
            what: what messages call its rows.
            learned: whether it is learned from, so that it must have different labels.

        Raises:
            MissingColumnError: if there is no such column.
            DataError: naming how many labels are null, NaN, infinite or out of the range, or that all
                are the same.
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
