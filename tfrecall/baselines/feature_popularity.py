"""Popularity of the values of items: the genre in the place of the item."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from tfrecall.baselines.base import HistoryModel
from tfrecall.core.columns import ITEM
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError, MissingColumnError, nearest
from tfrecall.index.scorers import Constant

# Values of a column, in distinct texts, that recur less often than this tell single items apart.
_ROWS_PER_VALUE = 2


class FeaturePopularity(HistoryModel):
    """Scores an item by the mean popularity of its values, such as genres, the same for every user.

    The baseline for items without events, of which `Popularity` knows nothing. The popularity of a value is the
    number of training rows an item that has it, as if one more item of mean popularity had it, too: a value of
    a single item says little. Items without events do not count there. An item without values has the mean.

    Args:
        columns: columns of the item table; None for all of texts, whole numbers and lists of texts whose values
            recur in two items or more on average.

    Raises:
        MissingColumnError: from `fit`, if the item table lacks a column.
        DataError: from `fit`, if there is no column of values.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = pl.DataFrame({"user_id": [*"uvw"], "item_id": [*"aab"], "timestamp": [1, 2, 3]})
    >>> items = pl.DataFrame({"item_id": [*"abcd"], "genre": ["x", "y", "y", "x"]})
    >>> train = tr.data.from_frame(log, items=items)
    >>> tr.FeaturePopularity().fit(train).recommend(["new"], k=2)[0].item_ids
    ['a', 'd']
    """

    name = "feature_popularity"

    def __init__(self, columns: Sequence[str] | None = None) -> None:
        super().__init__()
        self.columns = None if columns is None else tuple(columns)

    @property
    def settings(self) -> dict[str, Any]:
        return {"columns": self.columns and list(self.columns)}

    def check(self, train: Interactions) -> None:
        items = train.items
        for column in self.columns or ():
            if column not in items.columns:
                raise MissingColumnError(
                    f'The item table has no column "{column}".{nearest(column, items.columns)} It has: '
                    f"{', '.join(items.columns)}."
                )
        if not (value_columns(items) if self.columns is None else self.columns):
            raise DataError(
                "`feature_popularity` counts the values of items, such as genres, and the item table has no "
                "column of texts, whole numbers or lists of texts that recur. It has: "
                f"{', '.join(items.columns)}."
            )

    def _learn(self, train: Interactions) -> Constant:
        counts = np.bincount(train.item_rows, minlength=train.items.height)
        mean = counts.sum() / max(np.count_nonzero(counts), 1)
        columns = self.columns or value_columns(train.items)
        values = pl.concat([_values(train.items[column]) for column in columns])
        popularity = (
            values.with_columns(events=pl.Series(counts)[values["item"]])
            .filter(pl.col("events") > 0)
            .group_by("column", "value")
            .agg(((pl.col("events").sum() + mean) / (pl.len() + 1)).alias("popularity"))
        )
        found = (
            values.join(popularity, on=["column", "value"], how="left")
            .group_by("item")
            .agg(pl.col("popularity").fill_null(mean).mean())
        )
        scores = np.full(train.items.height, mean, np.float32)
        scores[found["item"].to_numpy()] = found["popularity"].to_numpy()
        return Constant(scores)


def value_columns(items: pl.DataFrame) -> list[str]:
    """Columns of texts, whole numbers and lists of texts whose values recur."""
    return [c.name for c in items.iter_columns() if c.name != ITEM and _recurs(c)]


def _recurs(column: pl.Series) -> bool:
    values = column.explode() if column.dtype == pl.List(pl.String) else column
    if not (values.dtype == pl.String or values.dtype.is_integer()):
        return False
    values = values.drop_nulls()
    return len(values) > 0 and values.n_unique() * _ROWS_PER_VALUE <= len(values)


def _values(column: pl.Series) -> pl.DataFrame:
    """One row for each value of an item: `item`, its row, `column` and `value`."""
    frame = pl.DataFrame({"item": pl.int_range(len(column), eager=True), "value": column})
    if isinstance(column.dtype, pl.List):
        frame = frame.explode("value")
    told = frame.with_columns(pl.lit(column.name).alias("column"), pl.col("value").cast(pl.String))
    # Twice the same value in a list is one.
    return told.drop_nulls().unique()
