"""Outside string ids and inside integers, both ways."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl

from tfrecall.errors import DataError

PADDING = 0
UNKNOWN = 1
FIRST = 2  # the index of row 0


class Vocabulary:
    """The ids of a table in table order.

    In NumPy and Polars an id is its *row* in the table, 0 to n - 1, -1 if it is not there. In
    tensors it is its *index*, row + 2, because 0 is padding and 1 is the unknown id.

    Args:
        ids: distinct strings.

    >>> vocabulary = Vocabulary(["a", "b"])
    >>> vocabulary.rows(["b", "x"]).tolist(), vocabulary.encode(["b", "x"]).tolist()
    ([1, -1], [3, 1])
    >>> vocabulary.decode([3, 2]).tolist()
    ['b', 'a']
    """

    def __init__(self, ids: Sequence[str] | np.ndarray | pl.Series) -> None:
        self.series = pl.Series("id", ids, dtype=pl.String)
        if self.series.n_unique() != len(self.series) or self.series.null_count():
            raise DataError("The ids of a vocabulary must be distinct and not null.")

    def __len__(self) -> int:
        return len(self.series)

    @cached_property
    def ids(self) -> np.ndarray:
        """Object array of `str`, `[n]`."""
        return np.array(self.series.to_list(), dtype=object)

    @cached_property
    def _table(self) -> pl.DataFrame:
        return pl.DataFrame({"id": self.series, "row": np.arange(len(self), dtype=np.int32)})

    def rows(self, ids: Sequence[str] | np.ndarray | pl.Series) -> np.ndarray:
        """Rows of the ids: int32 `[n]`, -1 for an unknown id."""
        asked = pl.DataFrame({"id": pl.Series(ids, dtype=pl.String)})
        joined = asked.join(self._table, on="id", how="left", maintain_order="left")
        return joined["row"].fill_null(-1).to_numpy().astype(np.int32)

    def encode(self, ids: Sequence[str] | np.ndarray | pl.Series) -> np.ndarray:
        """Indexes of the ids: int32 `[n]`, 1 for an unknown id."""
        rows = self.rows(ids)
        return np.where(rows < 0, UNKNOWN, rows + FIRST).astype(np.int32)

    def decode(self, indexes: Sequence[int] | np.ndarray) -> np.ndarray:
        """Ids of the indexes: object array of `str` `[n]`.

        Raises:
            DataError: if an index is padding, unknown or beyond the vocabulary.
        """
        indexes = np.asarray(indexes, dtype=np.int64)
        if indexes.size and (indexes.min() < FIRST or indexes.max() >= len(self) + FIRST):
            raise DataError(
                f"Only indexes from {FIRST} to {len(self) + FIRST - 1} stand for an id. "
                f"Received indexes from {indexes.min()} to {indexes.max()}."
            )
        return self.ids[indexes - FIRST]
