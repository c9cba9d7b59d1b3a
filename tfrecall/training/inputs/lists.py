"""Batches of whole lists, for tasks that order the rows of a list."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import tf, without_autograph
from tfrecall.core.ragged import Ragged, offsets_of
from tfrecall.data.batches import gathered, untuned
from tfrecall.data.interactions import Interactions
from tfrecall.errors import MissingColumnError, nearest


class ListwiseBatches:
    """Batches of whole lists: the rows of a log, grouped by the list that each belongs to.

    Args:
        names: the list of each row, `[n_rows]`.
    """

    def __init__(self, names: pl.Series) -> None:
        # Dense ranks count distinct names from 1 in their order, so the same log always gives the
        # same lists.
        codes = names.rank("dense").to_numpy().astype(np.int64) - 1
        self._lists = Ragged(np.argsort(codes, kind="stable"), offsets_of(np.bincount(codes)))

    @classmethod
    def of(cls, model: Any, data: Interactions) -> "ListwiseBatches | None":
        """Groups a log by the lists of the model's task; None for a task without lists.

        Raises:
            MissingColumnError: if the log does not have the column that names them.
        """
        if not getattr(model.task, "needs_lists", False):
            return None
        column, names = model.task.group, data.queries
        if column not in names.columns:
            raise MissingColumnError(
                f'The lists are named by "{column}", which is no column of the log or the user table: '
                f"{', '.join(names.columns)}.{nearest(column, names.columns)} Set `task.group`."
            )
        return cls(names[column].cast(pl.String).fill_null(""))

    def steps(self, batch_size: int) -> int:
        """Batches of an epoch, of about `batch_size` rows."""
        return min(len(self._lists), -(-len(self._lists.values) // batch_size))

    def epoch(
        self, batch_size: int, generator: np.random.Generator | None = None
    ) -> Iterator[np.ndarray]:
        """Yields the rows of each batch: every list once and whole, shuffled by a generator."""
        count = len(self._lists)
        order = np.arange(count) if generator is None else generator.permutation(count)
        # Equally many lists a batch, not equally many rows: lists stay whole.
        for lists in np.array_split(order, self.steps(batch_size)):
            yield self._lists.take(lists).values

    def batches(self, columns: dict[str, Any], batch_size: int) -> tf.data.Dataset:
        """Gathers tensors of the rows in batches of whole lists, in order."""
        rows = tf.data.Dataset.from_generator(
            lambda: self.epoch(batch_size), output_signature=tf.TensorSpec([None], tf.int64)
        )
        sized = rows.apply(tf.data.experimental.assert_cardinality(self.steps(batch_size)))
        return sized.map(without_autograph(lambda some: gathered(columns, some))).with_options(
            untuned()
        )
