"""The values that items have in a column of the item table, as caps and boosts ask for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tfrecall.errors import ConfigError


@dataclass(frozen=True, eq=False)
class ItemValues:
    """One column, each distinct value a number.

    Attributes:
        names: value as text -> its number.
        offsets, codes: those of item i: `codes[offsets[i]:offsets[i + 1]]`, each once. Null and the empty
            list are no value.
    """

    names: dict[str, int]
    offsets: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, column: pl.Series) -> "ItemValues":
        """Reads a column of the item table, of single values or of lists.

        Raises:
            ConfigError: if its values cannot be texts.

        >>> values = ItemValues.of(pl.Series("genres", [["a", "b"], None, ["b", "b"]]))
        >>> values.names, values.offsets.tolist(), values.codes.tolist()
        ({'a': 0, 'b': 1}, [0, 2, 2, 3], [0, 1, 1])
        """
        if isinstance(column.dtype, pl.Array):
            column = column.arr.to_list()
        inner = column.dtype.inner if isinstance(column.dtype, pl.List) else column.dtype
        if not _is_text(inner):
            raise ConfigError(
                f'The column "{column.name}" holds {column.dtype}, whose values are no texts. Caps and '
                "boosts take columns of texts, numbers, or lists of them."
            )
        if not isinstance(column.dtype, pl.List):
            column = column.reshape((-1, 1)).arr.to_list()
        texts = column.cast(pl.List(pl.String))
        texts = texts.fill_null([]).list.drop_nulls().list.unique(maintain_order=True)
        lengths = texts.list.len().to_numpy()
        flat = texts.explode().drop_nulls()
        names: dict[str, int] = {}
        codes = [names.setdefault(text, len(names)) for text in flat.to_list()]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(names, offsets, np.array(codes, dtype=np.int64))

    def table(self, rows: np.ndarray) -> np.ndarray:
        """Which of some items have which of the values among them: bool `[n_rows, n_values]`."""
        counts = self.offsets[rows + 1] - self.offsets[rows]
        ends = np.cumsum(counts)
        flat = np.arange(ends[-1] if len(ends) else 0)
        places = flat + np.repeat(self.offsets[rows] - (ends - counts), counts)
        values, columns = np.unique(self.codes[places], return_inverse=True)
        has = np.zeros((len(rows), len(values)), dtype=bool)
        has[np.repeat(np.arange(len(rows)), counts), columns] = True
        return has

    def having(self, values: Sequence[str]) -> np.ndarray:
        """Which items have one of some values: bool `[n_items]`."""
        wanted = [self.names[value] for value in values if value in self.names]
        items = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        found = np.zeros(len(self.offsets) - 1, dtype=bool)
        found[items[np.isin(self.codes, wanted)]] = True
        return found


def _is_text(dtype: Any) -> bool:
    """Whether each value of a column has one way to be written."""
    plain = (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null)
    return dtype.is_numeric() or dtype.is_temporal() or isinstance(dtype, plain)
