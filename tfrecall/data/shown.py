"""Negatives that the log itself names: items that were shown and not chosen."""

import numpy as np
import polars as pl

from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError, MissingColumnError, nearest
from tfrecall.negatives import Explicit


class ShownItems:
    """Draws from the items that each event of a log names.

    Args:
        log: the events.
        spec: the column, and how many.

    Attributes:
        items: int32, the item rows of all events, one event after the other.
        offsets: int64 `[n_rows + 1]`, where those of each event begin.

    Raises:
        MissingColumnError: if the log has no such column.
        DataError: if it holds neither ids nor lists of ids, or an id that the item table lacks.
    """

    def __init__(self, log: Interactions, spec: Explicit) -> None:
        self.per_positive = spec.per_positive
        rows, items = _pairs(log, spec.column)
        kept = items != log.item_rows[rows]
        if spec.exclude_known:
            n_items = log.items.height
            known = np.unique(log.user_rows.astype(np.int64) * n_items + log.item_rows)
            keys = log.user_rows[rows].astype(np.int64) * n_items + items
            kept &= known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] != keys
        self.items = items[kept].astype(np.int32)
        self.offsets = np.zeros(len(log) + 1, np.int64)
        np.cumsum(np.bincount(rows[kept], minlength=len(log)), out=self.offsets[1:])

    def check(self, rows: np.ndarray) -> None:
        """Refuses a column without a single negative for these rows."""
        if len(rows) and not (self.offsets[rows + 1] > self.offsets[rows]).any():
            raise DataError(
                f"None of {len(rows):,} targets has an explicit negative: the column is empty, or holds "
                "only items that the users have. Draw with `exclude_known = false`, or take another source."
            )

    def draw(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Item rows for some rows of the log: int32 `[n, per_positive]`, -1 for none."""
        starts, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        # Neighbours from a drawn place on, round the end: each item as likely, and none twice.
        first = np.where(lengths > self.per_positive, random.integers(0, np.maximum(lengths, 1)), 0)
        place = np.arange(self.per_positive)
        within = (first[:, np.newaxis] + place) % np.maximum(lengths, 1)[:, np.newaxis]
        there = place < lengths[:, np.newaxis]
        padded = self.items if len(self.items) else np.zeros(1, np.int32)
        return np.where(there, padded[np.where(there, starts[:, np.newaxis] + within, 0)], np.int32(-1))


def _pairs(log: Interactions, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Row of the log and item row of each id in the column."""
    values = _lists(log, column)
    pairs = pl.DataFrame({"row": pl.int_range(len(values), eager=True), "id": values})
    pairs = pairs.explode("id").filter(pl.col("id").is_not_null() & (pl.col("id") != ""))
    items = log.item_vocabulary.rows(pairs["id"])
    if (items < 0).any():
        first = int(np.argmax(items < 0))
        raise DataError(
            f'The column "{column}" of explicit negatives holds {np.count_nonzero(items < 0):,} ids that the '
            f'item table lacks, the first "{pairs["id"][first]}" in row {pairs["row"][first]:,} of the log. '
            "Add these items to the table, or take them out of the column."
        )
    return pairs["row"].to_numpy(), items


def _lists(log: Interactions, column: str) -> pl.Series:
    if column not in log.log.columns:
        raise MissingColumnError(
            f'The log has no column "{column}" of explicit negatives. It has: {", ".join(log.log.columns)}.'
            f"{nearest(column, log.log.columns)}"
        )
    values = log.log[column]
    inner = values.dtype.inner if isinstance(values.dtype, pl.List | pl.Array) else values.dtype
    if not (inner == pl.String or inner.is_integer() or inner in (pl.Categorical, pl.Enum, pl.Null)):
        raise DataError(
            f'The column "{column}" of explicit negatives must hold item ids, or lists of them. Received: '
            f"{values.dtype}. If a text holds several ids, name what separates them: "
            f"`data.list_separators.{column}`."
        )
    if isinstance(values.dtype, pl.List | pl.Array):
        return values.cast(pl.List(pl.String))
    return values.cast(pl.String).reshape((-1, 1)).arr.to_list()
