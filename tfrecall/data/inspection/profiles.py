"""Statistics of single columns and of counts."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

# Texts sampled for the mean number of words; the longest text is sought among all.
SAMPLE_ROWS = 10_000


@dataclass(frozen=True)
class Profile:
    """Statistics of one column.

    Attributes:
        table: `log`, `users` or `items`.
        name: name of the column.
        dtype: type of the column, as Polars writes it.
        rows: rows of the table.
        nulls: rows without a value; NaN counts as null.
        distinct: distinct values, null not counted.
        longest: bytes of the longest text, or values of the longest list; None for other types.
        mean_words: words a text on average; None for other types.
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
        """Whether each row has a value of its own."""
        return self.distinct == self.rows > 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def profile(table: str, column: pl.Series) -> Profile:
    """Computes the statistics of one column.

    >>> titles = profile("items", pl.Series("title", ["A B", "C", None]))
    >>> titles.distinct, titles.nulls, titles.longest, titles.mean_words
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
    """Computes the statistics of each column of a table."""
    return [profile(table, column) for column in frame.iter_columns()]


def _mean_words(texts: pl.Series) -> float:
    # Evenly spaced rows, not the first ones, because files are often sorted. The first 1,000 characters of a
    # text suffice to tell words from documents.
    sample = texts.gather_every(max(1, len(texts) // SAMPLE_ROWS)).str.slice(0, 1_000)
    return float(sample.str.count_matches(r"\S+").mean() or 0.0)  # type: ignore[arg-type]


QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99, "max": 1.0}


def spread(values: np.ndarray) -> dict[str, float]:
    """Mean and quantiles; each quantile is a value that occurs.

    >>> spread(np.array([1, 1, 1, 5]))["p75"], spread(np.array([1, 1, 1, 5]))["mean"]
    (1.0, 2.0)
    """
    statistics = {"mean": float(np.mean(values))}
    for name, share in QUANTILES.items():
        statistics[name] = float(np.quantile(values, share, method="inverted_cdf"))
    return statistics


def gini(counts: np.ndarray) -> float:
    """Gini coefficient of counts: 0 if all are equal, 1 - 1/n if one of n holds everything, 0 for no event.

    >>> gini(np.array([3, 3, 3])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    total, n = counts.sum(), len(counts)
    if total == 0:
        return 0.0
    # Whole numbers up to the one division, so that equal counts give 0 and not 1e-17.
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float(weights @ np.sort(counts) / (n * total))


def top_share(counts: np.ndarray, share: float) -> float:
    """Share of all events that the most frequent `share` of the items has; at least one item is taken.

    >>> top_share(np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 11]), 0.1)
    0.55
    """
    first = max(1, round(len(counts) * share))
    return float(np.sort(counts)[::-1][:first].sum() / max(1, counts.sum()))


def concentration(counts: np.ndarray) -> dict[str, Any]:
    """Mean, quantiles, Gini coefficient and shares of the most frequent items."""
    return {
        **spread(counts),
        "gini": gini(counts),
        "top_1_percent": top_share(counts, 0.01),
        "top_10_percent": top_share(counts, 0.1),
    }
