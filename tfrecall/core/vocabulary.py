"""Outside string ids and inside integers, both ways."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl

from tfrecall.errors import DataError

# What ids may come in: strings, or the UTF-8 bytes that TensorFlow hands back.
Ids = Sequence[str] | Sequence[bytes] | np.ndarray | pl.Series

PADDING = 0
UNKNOWN = 1
FIRST = 2  # the index of row 0


class Vocabulary:
    """The ids of a table in table order.

    In NumPy and Polars an id is its *row* in the table, 0 to n - 1, -1 if it is not there. In
    tensors it is its *index*, row + 2, because 0 is padding and 1 is the unknown id.

    Args:
        ids: distinct strings, not null. Nothing is stripped or folded: "A" is not "a", "7" not "07".

    >>> vocabulary = Vocabulary(["a", "b"])
    >>> vocabulary.rows(["b", "x"]).tolist(), vocabulary.encode(["b", "x"]).tolist()
    ([1, -1], [3, 1])
    >>> vocabulary.decode([3, 2]).tolist()
    ['b', 'a']
    """

    def __init__(self, ids: Ids) -> None:
        self.series = _strings(ids).alias("id")
        repeated = len(self.series) - self.series.n_unique()
        if repeated or self.series.null_count():
            raise DataError(
                "The ids of a vocabulary must be distinct and not null. Received: "
                f"{len(self.series):,} ids, {repeated:,} of them repeated, "
                f"{self.series.null_count():,} null."
            )

    def __len__(self) -> int:
        return len(self.series)

    @cached_property
    def ids(self) -> np.ndarray:
        """Object array of `str`, `[n]`."""
        return np.array(self.series.to_list(), dtype=object)

    @cached_property
    def _table(self) -> pl.DataFrame:
        return pl.DataFrame({"id": self.series, "row": np.arange(len(self), dtype=np.int32)})

    def rows(self, ids: Ids) -> np.ndarray:
        """Rows of the ids: int32 `[n]`, -1 for an unknown id."""
        asked = pl.DataFrame({"id": _strings(ids)})
        joined = asked.join(self._table, on="id", how="left", maintain_order="left")
        return joined["row"].fill_null(-1).to_numpy(writable=True)

    def encode(self, ids: Ids) -> np.ndarray:
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


def _strings(ids: Ids) -> pl.Series:
    """Ids as a `String` column; integers are refused, because "7" and "07" would be one."""
    series = ids if isinstance(ids, pl.Series) else None
    try:
        if series is None:
            values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
            is_bytes = any(isinstance(value, bytes) for value in values[:1])
            series = pl.Series(values, dtype=pl.Binary if is_bytes else pl.String)
        if series.dtype in (pl.String, pl.Binary, pl.Categorical, pl.Enum, pl.Null):
            return series.cast(pl.String)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise DataError(f"Ids must be strings, or all bytes of UTF-8 text: {error}") from error
    raise DataError(f'Ids must be strings, such as "42". Received: {series.dtype}.')
