"""What is in one column of a table, in figures."""

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

# Texts looked at for their words and length; the longest is sought among all.
SAMPLE_ROWS = 10_000


@dataclass(frozen=True)
class Profile:
    """Figures of one column.

    Attributes:
        table: `log`, `users` or `items`.
        name: of the column.
        dtype: its type, as Polars writes it.
        rows: of the table.
        nulls: rows without a value; NaN is none.
        distinct: how many different values there are, null not counted.
        longest: of texts, the bytes of the longest; of lists, the values of the longest.
        mean_words: of texts, words in a text on average.
    """

    table: str
    name: str
    dtype: str
    rows: int
    nulls: int
    distinct: int
    longest: int | None = None
    mean_words: float | None = None

    @property
    def is_empty(self) -> bool:
        return self.nulls == self.rows

    @property
    def is_constant(self) -> bool:
        return self.distinct == 1 and not self.nulls and self.rows > 1

    @property
    def is_distinct(self) -> bool:
        """Whether each row has its own value."""
        return self.distinct == self.rows > 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def profile(table: str, column: pl.Series) -> Profile:
    """Looks at one column.

    >>> found = profile("items", pl.Series("title", ["A B", "C", None]))
    >>> found.distinct, found.nulls, found.longest, found.mean_words
    (2, 1, 3, 1.5)
    """
    if column.dtype.is_float():
        column = column.fill_nan(None)
    values = column.drop_nulls()
    distinct = (values.hash() if column.dtype.is_nested() else values).n_unique() if len(values) else 0
    figures = {"rows": len(column), "nulls": len(column) - len(values), "distinct": distinct}
    longest = words = None
    if column.dtype == pl.String and len(values):
        longest = int(values.str.len_bytes().max())  # type: ignore[arg-type]
        words = _mean_words(values)
    elif isinstance(column.dtype, pl.List) and len(values):
        longest = int(values.list.len().max())  # type: ignore[arg-type]
    return Profile(table, column.name, str(column.dtype), **figures, longest=longest, mean_words=words)


def profiles(table: str, frame: pl.DataFrame) -> list[Profile]:
    """Looks at each column of a table."""
    return [profile(table, column) for column in frame.iter_columns()]


def _mean_words(texts: pl.Series) -> float:
    # Every so many rows, not the first: files are often sorted. A text's start tells its kind.
    sample = texts.gather_every(max(1, len(texts) // SAMPLE_ROWS)).str.slice(0, 1_000)
    return float(sample.str.count_matches(r"\S+").mean() or 0.0)  # type: ignore[arg-type]
