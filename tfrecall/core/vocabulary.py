"""Mapping between the string ids of a table and the integers that arrays and tensors hold."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl

from tfrecall.errors import DataError, nearest

# Strings, or the UTF-8 bytes that TensorFlow hands back.
Ids = Sequence[str] | Sequence[bytes] | np.ndarray | pl.Series

# The numbering of Keras' `StringLookup` with a mask token, so layers and arrays agree.
PADDING = 0
UNKNOWN = 1
FIRST = 2  # the index of row 0
# Ids that a dictionary answers sooner than a join, which reads the whole table: .1 us an id, while a join
# with 200,000 ids takes 10 ms.
_FEW = 1000


class Vocabulary:
    """The ids of a table in table order.

    In NumPy and Polars an id is its *row* in the table, 0 to n - 1, -1 for an unknown id. In
    tensors it is its *index*, row + 2, because 0 is padding and 1 is the unknown id.

    Args:
        ids: distinct strings, not null. Nothing is stripped or folded: "A" is not "a", "7" not "07".

    Raises:
        DataError: if an id is null, no string, or occurs twice.

    >>> vocabulary = Vocabulary(["a", "b"])
    >>> vocabulary.rows(["b", "x"]).tolist(), vocabulary.encode(["b", "x"]).tolist()
    ([1, -1], [3, 1])
    >>> vocabulary.row("b"), "x" in vocabulary
    (1, False)
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
        """Object array of `str` `[n]`, in table order."""
        return np.array(self.series.to_list(), dtype=object)

    def __contains__(self, one: object) -> bool:
        return one in self._row_of

    def row(self, one: str) -> int:
        """The row of one id, -1 for an unknown one. Takes well under a microsecond after the first call."""
        return self._row_of.get(one, -1)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.series.to_list())}

    @cached_property
    def _table(self) -> pl.DataFrame:
        return pl.DataFrame({"id": self.series, "row": np.arange(len(self), dtype=np.int32)})

    def rows(self, ids: Ids) -> np.ndarray:
        """Rows of the ids: int32 `[n]`, -1 for an unknown id and for null.

        Raises:
            DataError: if ids are neither strings nor UTF-8 bytes.
        """
        if isinstance(ids, list) and len(ids) <= _FEW and all(isinstance(one, str) for one in ids):
            return np.fromiter((self._row_of.get(one, -1) for one in ids), np.int32, len(ids))
        wanted = pl.DataFrame({"id": _strings(ids)})
        joined = wanted.join(self._table, on="id", how="left", maintain_order="left")
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


def item_row(catalogue: Vocabulary, item_id: str) -> int:
    """Looks up the row of an item that must be in the catalogue.

    Raises:
        DataError: if it is not in the catalogue, with the id that looks most like it.
    """
    row = catalogue.row(item_id)
    if row < 0:
        raise DataError(
            f'There is no item "{item_id}" in the catalogue of {len(catalogue)} items.'
            f"{nearest(str(item_id), catalogue.ids)}"
        )
    return row


def _strings(ids: Ids) -> pl.Series:
    """Ids as a `String` column; integers are refused, because "7" and "07" would be one."""
    series = ids if isinstance(ids, pl.Series) else None
    try:
        if series is None:
            values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
            # One value tells the type, even of a million; Polars refuses a mixture.
            is_bytes = any(isinstance(value, bytes) for value in values[:1])
            series = pl.Series(values, dtype=pl.Binary if is_bytes else pl.String)
        if series.dtype in (pl.String, pl.Binary, pl.Categorical, pl.Enum, pl.Null):
            return series.cast(pl.String)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise DataError(f"Ids must be strings, or all bytes of UTF-8 text: {error}") from error
    raise DataError(f'Ids must be strings, such as "42". Received: {series.dtype}.')
