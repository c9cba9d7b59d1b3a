"""Logs of any size with the marginals of a real one: fractal expansion."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.columns import ITEM, TIMESTAMP, USER
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.core.storage import staged_directory
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError

LOG, USERS, ITEMS = "log.parquet", "users.parquet", "items.parquet"
# Items change places with those of this ratio of popularity at most: enough that no two blocks are alike,
# little enough that each place keeps its popularity.
_ALIKE = 1.1
# Times of a user move by up to half an hour, so that the hour of the day stays.
_SHIFT_SECONDS = 1800
# Rounds of Sinkhorn's normalisation; columns are then equal within some 1e-6.
_ROUNDS = 50


class Expansion:
    """A log of `factor` times the events, made piece by piece; see `expand`.

    Attributes:
        data: the log that is expanded.
        factor: copies of each user.
        item_factor: copies of each item.
        seed: seed of all draws.
        weights: the reduced matrix, float64 `[factor, item_factor]`: the share of the events of a copy of
            the users that goes to each copy of the items. Rows add up to 1, columns to
            `factor / item_factor`.
    """

    def __init__(self, data: Interactions, factor: int, seed: int, item_factor: int) -> None:
        self.data = data
        self.factor = factor
        self.item_factor = item_factor
        self.seed = seed
        self.weights = _reduced(data, factor, item_factor, np.random.default_rng([seed]))

    def __len__(self) -> int:
        """Number of events."""
        return self.factor * len(self.data)

    def piece(self, copy: int) -> pl.DataFrame:
        """The events of one copy of all users, as many and in the order as in the log.

        Args:
            copy: 0 to `factor - 1`; pieces do not depend on each other.
        """
        random = np.random.default_rng([self.seed, copy])
        data, n_items = self.data, self.data.items.height
        edges = np.cumsum(self.weights[copy])[
            :-1
        ]  # without the last one, which rounding leaves beside 1
        block = np.searchsorted(edges, random.random(len(data)), side="right")
        items = block * n_items + self._places(random)[block, data.item_rows]
        shifts = random.integers(-_SHIFT_SECONDS, _SHIFT_SECONDS + 1, size=data.users.height)
        times = data.log[TIMESTAMP].to_numpy() + shifts[data.user_rows]
        users = _copied(data.users[USER], copy)
        return data.log.with_columns(
            users.gather(data.user_rows).alias(USER),
            self._item_ids.gather(items).alias(ITEM),
            pl.Series(TIMESTAMP, times),
        )

    def pieces(self) -> Iterator[pl.DataFrame]:
        """Yield the log in `factor` pieces."""
        return (self.piece(copy) for copy in range(self.factor))

    def users(self, copy: int) -> pl.DataFrame:
        """The user table of one copy, with the features of the log's users."""
        return self.data.users.with_columns(_copied(self.data.users[USER], copy).alias(USER))

    @property
    def items(self) -> pl.DataFrame:
        """The item table, with the features of the log's items."""
        table = pl.concat([self.data.items] * self.item_factor)
        return table.with_columns(self._item_ids.alias(ITEM))

    def write(self, out: str | Path, progress: ProgressReporter | None = None) -> None:
        """Write `log.parquet`, `users.parquet` and `items.parquet` into a new directory, one piece at a time.

        Raises:
            DataError: if the directory exists, or cannot be written.
        """
        progress = progress or LogProgress()
        try:
            with staged_directory(Path(out).absolute()) as staged:
                self.items.write_parquet(staged / ITEMS)
                with _Parquet(staged / LOG) as log, _Parquet(staged / USERS) as users:
                    for copy in range(self.factor):
                        log.write(self.piece(copy))
                        users.write(self.users(copy))
                        progress.progress("expand", (copy + 1) * len(self.data), len(self), "events")
        except OSError as error:
            raise DataError(
                f"The log could not be written to {out}: {error}. Name a new directory with enough space."
            ) from error

    @cached_property
    def _item_ids(self) -> pl.Series:
        return pl.concat([_copied(self.data.items[ITEM], copy) for copy in range(self.item_factor)])

    @cached_property
    def _classes(self) -> np.ndarray:
        """The class of popularity of each item: int64 `[n_items]`."""
        counts = np.bincount(self.data.item_rows, minlength=self.data.items.height)
        # Items without events, at 0, are a class of their own: those with one have log(2).
        return np.ceil(np.log1p(counts) / np.log(_ALIKE)).astype(np.int64)

    def _places(self, random: np.random.Generator) -> np.ndarray:
        """For each copy of the items the row that takes the place of each: int64 `[item_factor, n_items]`."""
        order = np.argsort(self._classes, kind="stable")
        keys = self._classes[order] + random.random((self.item_factor, len(order)))
        places = np.empty_like(keys, dtype=np.int64)
        places[:, order] = order[np.argsort(keys, axis=1)]
        return places


def expand(
    data: Interactions, factor: int, seed: int = 0, *, item_factor: int | None = None
) -> Expansion:
    """Expand a log to `factor` times its events, with the laws of activity, popularity and time of the log.

    The log is multiplied, as in a Kronecker product, with a small matrix reduced from it: one row a copy of
    the users, one column a copy of the items. Of each copy of a user every event goes to one copy of the
    items, by the tastes of a real user for groups of items. Users keep the number of their events exactly.
    Copies of an item share its events evenly on average, and change places with items that are as popular
    within 10 %, anew in each block of the product, so that no block repeats another. Times of a user move
    together by up to 30 minutes.

    Args:
        data: the log.
        factor: how many times the events, and the users.
        seed: seed of the draws; equal arguments give equal pieces.
        item_factor: how many times the items; None for the square root of `factor`, since catalogues
            grow slower than their users.

    Returns:
        The expansion; `pieces()` yields the log and `write` saves it, in the memory of one piece of the
        length of `data`. Ids are those of the log with the number of the copy: "42.0", "42.1".

    Raises:
        ConfigError: if a factor is below 1, or `item_factor` above `factor`.
        DataError: if the log is empty.

    Example:

    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=20, n_items=10, n_rows=100)
    >>> large = tr.data.expand(log, 9, seed=1)
    >>> len(large), large.items.height, sum(len(piece) for piece in large.pieces())
    (900, 30, 900)

    Reference:
        Belletti et al., "Scalable Realistic Recommendation Datasets through Fractal Expansions", 2019
        (arXiv 1901.08910). There blocks are thinned by a reduced matrix of singular vectors; here rows
        of the matrix are users, and its marginals are even, so that those of the log stay.
    """
    columns = max(1, round(factor**0.5)) if item_factor is None and factor > 0 else item_factor
    if factor < 1 or columns is None or not 1 <= columns <= factor:
        raise ConfigError(
            "A log is expanded by a factor of 1 or more, and its items by no more than that. Received: "
            f"factor={factor}, item_factor={item_factor}."
        )
    if not len(data):
        raise DataError("There are no events to expand. Give a log with some.")
    return Expansion(data, factor, seed, columns)


def _reduced(data: Interactions, rows: int, columns: int, random: np.random.Generator) -> np.ndarray:
    """Shares of events by groups of items of drawn users, with even marginals."""
    group = random.permutation(data.items.height) % columns
    drawn = random.integers(data.users.height, size=rows)
    row_of = np.full(data.users.height, -1)
    chosen = np.unique(drawn)
    row_of[chosen] = np.arange(len(chosen))
    of_user = row_of[data.user_rows]
    ours = of_user >= 0
    cells = of_user[ours] * columns + group[data.item_rows[ours]]
    counts = np.bincount(cells, minlength=len(chosen) * columns).reshape(-1, columns)
    # One event in each cell more: even a user without events has a taste.
    weights = counts[np.searchsorted(chosen, drawn)] + 1.0
    for _ in range(_ROUNDS):
        weights *= rows / columns / weights.sum(axis=0)
        weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _copied(ids: pl.Series, copy: int) -> pl.Series:
    return ids + f".{copy}"


class _Parquet:
    """A Parquet file that takes frames of one schema, each as a row group."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writer: Any = None

    def __enter__(self) -> "_Parquet":
        return self

    def write(self, frame: pl.DataFrame) -> None:
        import pyarrow.parquet as pq  # not at the top: logs in memory do without it

        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
